"""The manager is SIGKILLed at bad moments: nothing is lost, and its successor knows everything again."""

import errno
import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest

import tablemgr as tm
from tablemgr import Client, rendezvous
from tablemgr.manager.server import Server

from .support import (
    Daemon,
    Worker,
    claim_error,
    eventually,
    in_line,
    line_length,
    on_table,
    open_table,
    owner_pid,
    rows,
    until_equal,
)


def first_answer(workers: list[Worker]) -> Worker:
    """The first whose call ends."""
    answered: list[Worker] = eventually(lambda: [worker for worker in workers if worker.has_result()])
    return answered[0]


def test_a_successor_finds_owners_and_orphans_again(daemon: Daemon, instance: str) -> None:
    """Tables that the dead manager held are claimed from the new one; live owners keep theirs and are watched."""
    dead, alive = Worker(), Worker()
    dead.call(open_table, "orphan", heir_data="last words")
    dead.call(on_table, "orphan", "insert", (1, "kept"))
    alive.call(open_table, "owned")
    dead.kill()
    with tm.attach("orphan") as orphan, tm.attach("owned") as owned:
        eventually(lambda: owner_pid(orphan) == daemon.pid)
        daemon.kill()
        assert orphan.lookup(1) == [(1, "kept")]
        daemon.start()
        eventually(lambda: owner_pid(orphan) == daemon.pid)
        assert owner_pid(owned) == alive.pid
        alive.kill()
        eventually(lambda: owner_pid(owned) == daemon.pid)
    with tm.new_table("orphan") as back:
        assert back.inherited
        assert back.lookup(1) == [(1, "kept")]
        assert back.transfer is not None
        assert back.transfer.data == "last words"


def test_owners_that_died_while_no_manager_ran_are_settled_at_its_start(daemon: Daemon, instance: str) -> None:
    """A manager's first act is to look at everything: before anybody can talk to it, the dead are inherited from."""
    worker = Worker()
    for name in ("b", "a"):
        worker.call(open_table, name)
    worker.call(open_table, "mortal", heir=None)
    daemon.kill()
    worker.kill()
    daemon.start()
    assert {info.name: info.owner and info.owner.pid for info in tm.tables()} == {"a": daemon.pid, "b": daemon.pid}


def test_waiters_find_the_successor_by_themselves(daemon: Daemon, instance: str) -> None:
    """Killed twice while clients wait, the line is there again, in its order, and is served."""
    owner = Worker()
    owner.call(open_table, "t")
    owner.call(on_table, "t", "insert", (1, 2))
    waiters = [Worker() for _ in range(3)]
    for n, worker in enumerate(waiters, 1):
        worker.start(open_table, "t", wait=None)
        until_equal(n, line_length, instance)
    for _ in range(2):
        daemon.kill()
        daemon.start()
        eventually(lambda: in_line(instance) == [("t", worker.pid) for worker in waiters])
    daemon.kill()
    owner.kill()
    daemon.start()
    winner = first_answer(waiters)
    assert winner.result() == (True, "heir")
    assert winner.call(rows, "t") == [(1, 2)]


def server_of(manager: tm.Manager) -> Server:
    """What serves."""
    assert manager._server is not None
    return manager._server


def test_the_line_of_a_killed_manager_is_served_in_its_order(
    daemon: Daemon, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with the owner: the first who asked gets the table, not the first who comes back; nor who asks later."""
    monkeypatch.setattr("tablemgr.manager.server.RETURN_SECONDS", 1000.0)
    owner, first, second, late = (Worker() for _ in range(4))
    owner.call(open_table, "t")
    for n, worker in enumerate((first, second), 1):
        worker.start(open_table, "t", wait=None)
        until_equal(n, line_length, instance)
    first.signal(signal.SIGSTOP)
    daemon.kill()
    owner.kill()
    with tm.Manager() as manager:
        late.start(claim_error, "t")
        eventually(lambda: in_line(instance) == [("t", second.pid), ("t", late.pid)])
        first.signal(signal.SIGCONT)
        eventually(lambda: in_line(instance) == [("t", worker.pid) for worker in (first, second, late)])
        server = server_of(manager)
        server._loop.call_soon_threadsafe(server._line_has_formed)
        assert first.result() == (True, "heir")
        assert f"process {first.pid}" in late.result()
        assert in_line(instance) == [("t", second.pid)]


def lock_text(instance: str) -> str:
    """What the manager has put down in its lock."""
    return Path(rendezvous.directory_path(), rendezvous.file_name(instance, "lock")).read_text()


def serve_first_of(manager: tm.Manager, first: Worker, late: Worker, instance: str) -> None:
    """`first`, which is stopped, asked a manager before, `late` this one; the line forms when it is seen to."""
    late.start(claim_error, "t", wait=None)
    eventually(lambda: in_line(instance) == [("t", late.pid)])
    first.signal(signal.SIGCONT)
    eventually(lambda: in_line(instance) == [("t", first.pid), ("t", late.pid)])
    server = server_of(manager)
    server._loop.call_soon_threadsafe(server._line_has_formed)
    assert first.result() == (True, "heir")
    assert in_line(instance) == [("t", late.pid)]


def test_the_line_outlasts_managers_that_are_killed_before_it_has_formed(
    daemon: Daemon, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never came to serve, and one that had one client, which went: the third still waits for the first."""
    monkeypatch.setattr("tablemgr.manager.server.RETURN_SECONDS", 1000.0)
    owner, first, late = (Worker() for _ in range(3))
    owner.call(open_table, "t")
    first.start(open_table, "t", wait=None)
    until_equal(1, line_length, instance)
    first.signal(signal.SIGSTOP)
    daemon.kill()
    owner.kill()
    never_served = rendezvous.FileLock(instance, "lock")
    assert never_served.acquire()
    never_served.forget()
    with tm.Manager() as manager:
        gone = Worker()
        gone.start(open_table, "t", wait=None)
        until_equal(1, line_length, instance)
        gone.kill()
        until_equal(0, line_length, instance)
        assert lock_text(instance) == f"{os.getpid()} line"
        serve_first_of(manager, first, late, instance)


def test_who_dies_before_the_line_has_formed_has_that_line(
    daemon: Daemon, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner outlived the manager, but not the tenth of a second."""
    monkeypatch.setattr("tablemgr.manager.server.RETURN_SECONDS", 1000.0)
    owner, first, late = (Worker() for _ in range(3))
    owner.call(open_table, "t")
    first.start(open_table, "t", wait=None)
    until_equal(1, line_length, instance)
    first.signal(signal.SIGSTOP)
    daemon.kill()
    with tm.Manager() as manager:
        tm.wait_for_manager()
        owner.kill()
        serve_first_of(manager, first, late, instance)


def test_the_line_outlasts_a_manager_that_ends_in_good_order(
    daemon: Daemon, instance: str, monkeypatch: pytest.MonkeyPatch, no_traces: None
) -> None:
    """It sends those in line to its successor; the owner dies before there is one."""
    monkeypatch.setattr("tablemgr.manager.server.RETURN_SECONDS", 1000.0)
    owner, first, late = (Worker() for _ in range(3))
    owner.call(open_table, "t")
    first.start(open_table, "t", wait=None)
    until_equal(1, line_length, instance)
    first.signal(signal.SIGSTOP)
    daemon.terminate()
    owner.kill()
    with tm.Manager() as manager:
        serve_first_of(manager, first, late, instance)
        late.kill()
        until_equal(0, line_length, instance)


def test_on_a_full_disk_those_in_line_are_answered(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noted in the lock is lost there, no more."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tablemgr.rendezvous.os.pwrite", full)
    owner, waiter, other = (Worker() for _ in range(3))
    with tm.Manager():
        owner.call(open_table, "t")
        waiter.start(open_table, "t", wait=None)
        until_equal(1, line_length, instance)
        assert "TableOwnedError" in other.call(claim_error, "t", wait=0.01)
        owner.kill()
        assert waiter.result() == (True, "heir")


def test_nobody_waits_for_a_line_that_cannot_be(daemon: Daemon, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the one before ended in good order, nor where all had left it before that was killed."""
    monkeypatch.setattr("tablemgr.manager.server.RETURN_SECONDS", 1000.0)
    first, second = Worker(), Worker()
    first.call(open_table, "a")
    daemon.terminate()
    first.kill()
    with tm.Manager():
        assert second.call(open_table, "a") == (True, "heir")
    daemon.start()
    with pytest.raises(tm.TableOwnedError):
        tm.new_table("a", wait=0.01)
    daemon.kill()
    second.kill()
    with tm.Manager():
        assert tm.new_table("a").inherited


def test_a_call_without_a_manager_says_what_to_do(instance: str) -> None:
    """Where none may be started, the error comes at once and names the ways out."""
    with pytest.raises(tm.ManagerUnavailableError, match=f"--instance {instance} serve"):
        tm.new_table("t")


def test_a_table_can_be_used_while_no_manager_runs(daemon: Daemon) -> None:
    """Reads, writes and attaching never go through the manager."""
    table = tm.new_table("t", access="public")
    daemon.kill()
    table.insert((1, 2))
    with tm.attach("t") as other:
        other.insert((3, 4))
    assert sorted(table) == [(1, 2), (3, 4)]
    table.drop()


def test_a_client_kept_from_before_talks_to_the_successor(daemon: Daemon) -> None:
    """Connections to the dead manager are noticed and replaced within a call."""
    client = Client()
    client.new_table("a")
    daemon.kill()
    daemon.start()
    client.new_table("b")
    info = client.info()
    assert info.manager is not None
    assert info.manager.pid == daemon.pid
    assert [table.name for table in info.tables] == ["a", "b"]


def test_a_stopped_manager_is_waited_for_no_longer_than_agreed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager that does not answer is an error, not a hang."""
    monkeypatch.setattr("tablemgr.conversation.ANSWER_SECONDS", 0.3)
    os.kill(daemon.pid, signal.SIGSTOP)
    with pytest.raises(tm.ManagerUnavailableError, match="does not answer"):
        tm.new_table("t")
    os.kill(daemon.pid, signal.SIGCONT)
    tm.new_table("t").drop()


def test_owners_and_managers_killed_again_and_again(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm: in each turn the manager is killed at some moment of the hand-over; one successor has all rows."""
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    owner = Worker()
    owner.call(open_table, "t")
    for turn in range(12):
        owner.call(on_table, "t", "insert", (turn, "x"))
        claimants = [Worker() for _ in range(2)]
        for claimant in claimants:
            claimant.start(open_table, "t", wait=None)
        manager = Client().info().manager
        if turn % 2:
            owner.kill()
            if manager is not None:
                os.kill(manager.pid, signal.SIGKILL)
        else:
            if manager is not None:
                os.kill(manager.pid, signal.SIGKILL)
            owner.kill()
        winner = first_answer(claimants)
        assert winner.result() == (True, "heir")
        for claimant in claimants:
            if claimant is not winner:
                assert not claimant.has_result()
                claimant.kill()
        owner = winner
        assert owner.call(rows, "t") == [(n, "x") for n in range(turn + 1)]
    assert "TableOwnedError" in Worker().call(claim_error, "t")
