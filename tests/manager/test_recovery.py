"""The recipe for a worker that loses no state: it is in a table, where its successor finds the last good one."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import Child, ChildStarted, Supervisor

from .support import TIMEOUT, Daemon, Worker, on_table, open_table

STEPS = 200
TOTAL = 1000
LAYOUT = 3  # the version of what the rows mean


def resume(table: tm.Table) -> int:
    """The step to go on with; what a program of another version left is cleared away."""
    if table.lookup_element("layout", 1, None) != LAYOUT:
        table.delete_all()
        table.insert([("layout", LAYOUT), ("step", 0), ("left", TOTAL), ("right", 0), ("fresh starts", 1)])
    assert table.lookup_element("left", 1) + table.lookup_element("right", 1) == TOTAL
    return int(table.lookup_element("step", 1))


def move(kills: dict[int, int], tables: dict[str, tm.Table]) -> None:
    """Move amounts from one row to another, a step at a time; kills: how often to die at a step, in the midst of it.

    Step and amounts change together, so that a step is done once, however often it is begun.
    """
    state = tables["state"]
    lives = state.update_counter("lives", 1, ("lives", 0))
    for step in range(resume(state), STEPS):
        amount = random.Random(step).randrange(-5, 6)
        before = state.update_counter(("begun", step), 1, (("begun", step), 0))
        with state.atomic() as changes:
            changes.update_counter("left", -amount)
            if before <= kills.get(step, 0) and lives % 2:
                os.kill(os.getpid(), signal.SIGKILL)  # in the block: nothing of it happens
            changes.update_counter("right", amount)
            changes.update_counter("step", 1)
        if before <= kills.get(step, 0):
            os.kill(os.getpid(), signal.SIGKILL)  # after the block: all of it has


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_goes_on_from_its_last_good_state(daemon: Daemon, seed: int) -> None:
    """Killed at any step, before or after its change: each step is done once, and what belongs together stays so."""
    chance = random.Random(seed)
    kills = {chance.randrange(STEPS): chance.randint(1, 2) for _ in range(6)}
    child = Child("mover", move, (kills,), restart="transient", tables={"state": {"access": "public"}})
    starts: list[Any] = []
    Supervisor([child], max_restarts=30, max_seconds=TIMEOUT, context="fork", on_event=starts.append).run()
    amounts = [random.Random(step).randrange(-5, 6) for step in range(STEPS)]
    with tm.attach("state") as state:
        assert state.lookup_element("step", 1) == STEPS
        assert state.lookup_element("right", 1) == sum(amounts)
        assert state.lookup_element("left", 1) == TOTAL - sum(amounts)
        assert state.lookup_element("fresh starts", 1) == 1
        lives = sum(isinstance(event, ChildStarted) for event in starts)
        assert lives > len(kills)
        assert state.check() == []


def test_a_worker_that_cannot_use_the_state_starts_afresh(daemon: Daemon) -> None:
    """It is cleared, and nothing of it is mixed with the new one."""
    old = Worker()
    old.call(open_table, "state")
    old.call(on_table, "state", "insert", [("layout", LAYOUT - 1), ("step", 150), ("left", 17), ("middle", 4)])
    old.kill()
    child = Child("mover", move, ({},), restart="transient", tables={"state": {"access": "public"}})
    Supervisor([child], max_restarts=0, context="fork").run()
    with tm.attach("state") as state:
        assert state.lookup_element("step", 1) == STEPS
        assert state.lookup("middle") == []
        assert state.lookup_element("fresh starts", 1) == 1
