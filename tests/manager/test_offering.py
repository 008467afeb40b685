"""What nobody stands in line for a manager offers: the next owner takes it alone, the manager learns of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _ffi
from tablemgr.conversation import Connection, Conversations
from tablemgr.manager import server
from tablemgr.protocol import Watch
from tablemgr.segment_names import segment_name

from .support import (
    TIMEOUT,
    Daemon,
    State,
    Worker,
    claim_error,
    eventually,
    in_line,
    line_length,
    make_kept,
    on_table,
    open_table,
    owner_pid,
    rows,
    until_equal,
)
from .test_events import events, shown


def fill_table(state: State, name: str, **options: object) -> None:
    """In a worker: new_table, with a row."""
    open_table(state, name, access="private", **options)
    on_table(state, name, "insert", (1, "x"))


def meet(state: State) -> None:
    """In a worker: be known to the manager."""
    state["client"] = tm.Client()
    state["client"].info()


def reason(name: str) -> int:
    """How the present owner has the table."""
    status, seen = _ffi.glance(segment_name(tm.Client().instance, name))
    assert status == _ffi.OK
    return seen.transfer_reason


@contextlib.contextmanager
def stopped(manager: int) -> Iterator[None]:
    """In the block, the manager, a child of this process, does nothing."""
    os.kill(manager, signal.SIGSTOP)
    os.waitid(os.P_PID, manager, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.kill(manager, signal.SIGCONT)


@contextlib.contextmanager
def manager_with(instance: str, setting: str) -> Iterator[int]:
    """In the block, a manager whose server is changed runs as a program of its own; yields its pid."""
    text = f"import os, sys; from tablemgr.manager import __main__, server; {setting}; sys.exit(__main__.main())"
    with subprocess.Popen([sys.executable, "-c", text, f"--instance={instance}"]) as process:
        try:
            tm.wait_for_manager(TIMEOUT)
            yield process.pid
        finally:
            process.kill()


def test_who_comes_later_takes_the_table_alone(daemon: Daemon) -> None:
    """While the manager does nothing, as handed over by it; with the word, the rows and the events of a hand-over."""
    killed = make_kept(daemon, "t", fill_table, heir_data="word")
    assert reason("t") == _ffi.REASON_OFFERED
    successor = Worker()
    successor.call(meet)
    with stopped(daemon.pid):
        assert successor.call(open_table, "t") == (True, "heir")
        assert successor.call(rows, "t") == [(1, "x")]
        assert shown(successor.call(events, least=2)) == [
            ("transfer", "t", killed, "heir", "word"),
            ("died", "t", killed, -signal.SIGKILL),
        ]
    assert successor.call(open_table, "u") == (False, None)  # the same connection serves for what is asked


def test_the_manager_hands_the_taken_table_to_the_next(daemon: Daemon, instance: str) -> None:
    """It watches the taker, whose standby gets the table when that dies."""
    make_kept(daemon, "t", fill_table)
    taker, standby = Worker(), Worker()
    assert taker.call(open_table, "t") == (True, "heir")
    standby.start(open_table, "t", wait=None)
    until_equal(1, line_length, instance)
    taker.kill()
    assert standby.result() == (True, "heir")
    assert shown(standby.call(events, least=2))[1] == ("died", "t", taker.pid, -signal.SIGKILL)


def test_nobody_overtakes_a_line(daemon: Daemon, instance: str) -> None:
    """What somebody waits for is kept for the first in line, and never offered, not for a moment."""
    owner, first, late = Worker(), Worker(), Worker()
    owner.call(fill_table, "t")
    first.start(open_table, "t", wait=None)
    until_equal(1, line_length, instance)
    late.call(meet)
    first.signal(signal.SIGSTOP)
    with stopped(daemon.pid):
        owner.kill()
        late.start(claim_error, "t")
    assert f"owned by process {first.pid}" in late.result()
    first.signal(signal.SIGCONT)
    assert first.result() == (True, "heir")
    assert reason("t") == _ffi.REASON_INHERITED


def test_a_manager_killed_before_it_hands_over_has_offered_nothing(instance: str) -> None:
    """Between the inheritance and the hand-over to the first in line: nobody can take the table meanwhile."""
    owner, first = Worker(), Worker()
    with manager_with(instance, "server.Server._give = lambda *_: os.kill(os.getpid(), 9)") as manager:
        owner.call(fill_table, "t")
        first.start(open_table, "t", wait=None)
        until_equal(1, line_length, instance)
        owner.kill()
        os.waitid(os.P_PID, manager, os.WEXITED | os.WNOWAIT)
        with tm.attach("t") as table:
            assert owner_pid(table) == manager
        assert reason("t") == _ffi.REASON_KEPT
    Daemon(instance)
    assert first.result() == (True, "heir")
    assert first.call(rows, "t") == [(1, "x")]


def test_a_successor_offers_nothing_before_the_line_has_formed(daemon: Daemon, instance: str) -> None:
    """Also what was offered by the manager before: somebody may have asked for it when that was killed."""
    make_kept(daemon, "t", fill_table)
    owner, waiter = Worker(), Worker()
    owner.call(open_table, "other")
    waiter.start(open_table, "other", wait=None)
    until_equal(1, line_length, instance)
    daemon.kill()
    with manager_with(instance, "server.RETURN_SECONDS = 1000.0") as successor, tm.attach("t") as table:
        assert owner_pid(table) == successor
        assert reason("t") == _ffi.REASON_KEPT


def test_a_client_that_runs_the_manager_is_told_of_the_death(instance: str) -> None:
    """So it offers nothing: the next owner's transfer would take the place of what it has not read yet."""
    with tm.Manager():
        owner, successor = Worker(), Worker()
        owner.call(fill_table, "t")
        tm.info()
        owner.kill()
        with tm.attach("t") as table:
            eventually(lambda: owner_pid(table) == os.getpid())
        assert reason("t") == _ffi.REASON_KEPT
        assert successor.call(open_table, "t") == (True, "heir")
        assert [event for event in shown(list(tm.events(timeout=0))) if event[0] == "died"] == [
            ("died", "t", owner.pid, -signal.SIGKILL)
        ]


def take_and_die(state: State, *names: str, tells: bool) -> None:
    """In a worker: take offered tables and be killed at once, before or after the manager is told of the last."""

    def mention(self: Connection, request: object) -> None:
        if tells:
            original(self, request)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)

    for name in names[:-1]:
        open_table(state, name)
    original = Connection.mention
    Connection.mention = mention  # type: ignore[method-assign]
    open_table(state, names[-1])


def test_what_a_taker_told_before_it_was_killed_is_heard(instance: str) -> None:
    """The manager learns of the end first, and of what the dead had taken all the same."""
    owner, taker = Worker(), Worker()
    with manager_with(instance, "server.ROUND_SECONDS = 3600.0") as manager:
        for name in ("t", "u"):
            owner.call(fill_table, name)
        taker.call(meet)
        owner.kill()
        with tm.attach("t") as first, tm.attach("u") as last:
            eventually(lambda: owner_pid(last) == manager)
            with stopped(manager):
                taker.start(take_and_die, "t", "u", tells=True)
                taker.await_end()
                assert owner_pid(first) == owner_pid(last) == taker.pid
            eventually(lambda: owner_pid(first) == owner_pid(last) == manager)


def test_all_that_the_dead_owned_passes_in_the_order_of_creation(daemon: Daemon) -> None:
    """Also if the manager reads what the dead had told of one table before it learns of the death."""
    heir, owner, other = Worker(), Worker(), Worker()
    for name in ("a", "b"):
        owner.call(open_table, name, heir=heir.pid)
    other.call(open_table, "last")
    other.kill()
    with tm.attach("last") as last:
        eventually(lambda: owner_pid(last) == daemon.pid)
        with stopped(daemon.pid):
            assert owner.call(open_table, "last", heir=heir.pid) == (True, "heir")
            owner.kill()
        eventually(lambda: owner_pid(last) == heir.pid)
    assert [event[:2] for event in shown(heir.call(events, least=6))] == [
        (kind, name) for kind in ("transfer", "died") for name in ("a", "b", "last")
    ]


def test_an_answer_that_nobody_waits_for_ends_no_manager(instance: str) -> None:
    """Its socket is closed, and SIGPIPE ends the process in which the manager runs, as it does most programs."""
    worker = Worker()
    with manager_with(instance, "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)") as manager:
        worker.call(meet)
        with stopped(manager):
            worker.call(make_and_hang_up, "t")
        until_equal(manager, lambda: (seen := tm.info().manager) and seen.pid)


def make_and_hang_up(state: State, name: str) -> None:
    """In a worker: new_table by a client that is known to the manager, and gone before that answers."""
    state[name] = tm.create(name, heir="manager")
    state["client"]._manager.tell(Watch(name))
    state["client"].close()


def test_a_taker_killed_before_it_tells_is_found(instance: str) -> None:
    """At its end, and not in some round: the manager looks at what it offers."""
    owner, taker = Worker(), Worker()
    with manager_with(instance, "server.ROUND_SECONDS = 3600.0") as manager:
        owner.call(fill_table, "t")
        owner.kill()
        with tm.attach("t") as table:
            eventually(lambda: owner_pid(table) == manager)
            taker.start(take_and_die, "t", tells=False)
            taker.await_end()
            eventually(lambda: owner_pid(table) == manager)
            assert table.info().rows == 1
    assert reason("t") == _ffi.REASON_OFFERED


def test_of_many_tables_of_one_death_none_is_offered(daemon: Daemon) -> None:
    """Who asks for one while the manager is busy with the others would be overtaken by who comes a little later."""
    owner = Worker()
    names = [f"t{number}" for number in range(server.OFFERED_MAX + 1)]
    for name in names:
        owner.call(open_table, name)
    owner.kill()
    with tm.attach(names[-1]) as table:
        eventually(lambda: owner_pid(table) == daemon.pid)
    assert {reason(name) for name in names} == {_ffi.REASON_KEPT}
    assert Worker().call(open_table, names[0]) == (True, "heir")


def test_a_patient_claim_waits_for_a_manager_that_greets_late(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait is a wait for the manager, too, whether the table is asked for or taken."""
    monkeypatch.setattr("tablemgr.conversation.ANSWER_SECONDS", 0.05)
    make_kept(daemon, "t", fill_table)
    claimant = Worker()
    with stopped(daemon.pid):
        claimant.start(open_table, "t", wait=None)
        with pytest.raises(tm.ManagerUnavailableError):
            tm.new_table("t")
        assert not claimant.has_result()
    assert claimant.result() == (True, "heir")


def test_a_table_that_is_renamed_meanwhile_is_not_meant(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and the claim: then there is no table of that name, and one is made."""
    make_kept(daemon, "t", access="public")
    ask = Conversations.ask

    def rename_and_ask(self: Conversations, *args: Any) -> Any:
        monkeypatch.setattr(Conversations, "ask", ask)
        with tm.attach("t") as table:
            table.rename("u")
        return ask(self, *args)

    monkeypatch.setattr(Conversations, "ask", rename_and_ask)
    with tm.new_table("t") as table:
        assert (table.name, table.inherited) == ("t", False)
    assert reason("u") == _ffi.REASON_OFFERED


def test_of_racing_takers_one_owns_the_table(daemon: Daemon) -> None:
    """The others are told by whom."""
    make_kept(daemon, "t", fill_table)
    takers = [Worker() for _ in range(6)]
    for taker in takers:
        taker.call(meet)
    for taker in takers:
        taker.start(claim_error, "t")
    answers = {taker.pid: taker.result() for taker in takers}
    with tm.attach("t") as table:
        winner = owner_pid(table)
    assert answers.pop(winner) == "no error"
    assert all(f"owned by process {winner}, which is alive" in answer for answer in answers.values())
    assert in_line(tm.Client().instance) == []
