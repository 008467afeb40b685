"""Many workers want many tables while they and their manager are SIGKILLed at random: `torture`, in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr import rendezvous
from tests.support.soak import seed, soak_minutes

from .torture import History, Ownership, rows_of

SAMPLE, WHOLE = (40, 12, 4), (200, 50, 60)  # workers, tables, seconds


@pytest.mark.timeout(600)
def test_everybody_is_killed_at_random(instance: str, runtime: Path) -> None:
    """One owner at any time, no acknowledged write lost, no orphan, process or file left; the manager does not grow.

    The last is seen at a manager that nobody kills while its clients die.
    """
    workers, tables, seconds = WHOLE if soak_minutes() else SAMPLE
    command = [sys.executable, "-m", "tests.manager.torture", f"--seed={seed()}"]
    command += [f"--workers={workers}", f"--tables={tables}", f"--seconds={seconds}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    figures = json.loads(done.stdout)
    assert figures["problems"] == []
    assert figures["workers killed"] >= workers
    assert figures["managers killed"] >= 1
    assert sum(figures["ownerships"].values()) > tables
    before, after = figures["manager before"], figures["manager after"]
    assert after["descriptors"] == before["descriptors"]
    assert after["KiB"] - before["KiB"] < 1024
    assert not [entry for entry in os.listdir("/dev/shm") if instance in entry]
    rendezvous.remove_leftovers(instance)  # the lock of who was killed while it started a manager
    assert list((runtime / "tablemgr").iterdir()) == []


def test_two_owners_at_one_time_would_be_found() -> None:
    """The judge of the above is no judge that lets everything pass."""
    one, other = Ownership(10, 20, 1, (0, 1)), Ownership(21, 30, 2, (1, 1))
    assert History([other, one]).problems("t") == []
    assert History([one, Ownership(20, 30, 2, (1, 1))]).problems("t")
    assert History([one, Ownership(15, 16, 2, (1, 1))]).problems("t")
    assert History([one, Ownership(21, 30, 1, (1, 1))]).problems("t")


def test_a_lost_or_torn_write_would_be_found() -> None:
    """Acknowledged: all rows; begun: all or none; and nothing else."""
    table = tm.create("t")
    write, next_write = (0, 4), (0, 8)  # of three rows each
    table.insert(rows_of(*write))
    history = History(begun={write, next_write}, written={write})
    assert history.wrong_rows("t", table) == []
    table.insert(rows_of(*next_write)[:2])
    assert len(history.wrong_rows("t", table)) == 1
    table.insert(rows_of(*next_write))
    assert history.wrong_rows("t", table) == []
    table.delete(rows_of(*write)[0][0])
    assert len(history.wrong_rows("t", table)) == 1
    table.insert([*rows_of(*write), ("strange", "row")])
    assert len(history.wrong_rows("t", table)) == 1
