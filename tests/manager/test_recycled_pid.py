"""A process dies and another gets its pid: that is nobody's owner, heir or name, and gets no rows.

The kernel hands pids out in turn, so this takes a pid namespace, in which the next pid can be chosen.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _ffi
from tests.support.child import in_child

from .support import Daemon, State, Worker, eventually, on_table, open_table, owner_pid, rows

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def in_own_namespace(function: Callable[[], Any]) -> Any:
    """Its result, called in the first process of a pid namespace with a /proc of its own; skip where there is none."""

    def child() -> str | None:
        libc = ctypes.CDLL(None, use_errno=True)
        spaces = CLONE_NEWPID | CLONE_NEWNS
        if libc.unshare(spaces) != 0 and libc.unshare(spaces | CLONE_NEWUSER) != 0:
            return "no pid namespaces here"
        refused: str | None = in_child(first, libc, parental=True)
        return refused

    def first(libc: Any) -> str | None:
        if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or libc.mount(
            b"proc", b"/proc", b"proc", 0, None
        ):
            return "no /proc of a pid namespace here"
        try:
            LAST_PID.write_text("100")
        except OSError:
            return "pids cannot be chosen here"
        try:
            function()
        finally:
            Worker.end_all()
            Daemon.end_all()
        return None

    refused = in_child(child, parental=True)
    if refused is not None:
        pytest.skip(refused)


def successor_of(dead: Worker, start: int) -> Worker:
    """Another process with the pid of a dead one that began at `start`.

    Of the same clock tick it would be the same to everybody; the kernel needs longer to come round to a pid.
    """
    while True:
        LAST_PID.write_text(str(dead.pid - 1))
        worker = Worker()
        assert worker.pid == dead.pid
        if _ffi.process_start(worker.pid) != start:
            return worker
        worker.kill()


def kill(worker: Worker) -> int:
    """SIGKILL; its start time."""
    start = _ffi.process_start(worker.pid)
    assert start is not None
    worker.kill()
    return start


def refusal(state: State, name: str, method: str, *args: Any) -> str:
    """In a worker: the error of a method of a table."""
    try:
        with tm.attach(name) as table:
            getattr(table, method)(*args)
    except tm.TableError as error:
        return type(error).__name__
    return "none"


def whereis(state: State, name: str) -> tm.Process | None:
    """In a worker."""
    return tm.whereis(name)


def register(state: State, name: str) -> None:
    """In a worker."""
    tm.register(name)


def create(state: State, name: str, **options: Any) -> None:
    """In a worker: a table made without a manager."""
    state[name] = tm.create(name, **options)


def test_it_is_not_taken_for_the_owner(instance: str) -> None:
    """While no manager runs: the table is an orphan, private rows are refused, and the next manager inherits."""

    def world() -> None:
        owner = Worker()
        owner.call(create, "t", access="private", heir="manager", heir_data="word")
        owner.call(on_table, "t", "insert", (1, "secret"))
        impostor = successor_of(owner, kill(owner))
        (info,) = tm.tables()
        assert info.owner is not None
        assert (info.owner.pid, info.orphan) == (impostor.pid, True)
        for method, args in (("lookup", (1,)), ("insert", ((2, 3),)), ("delete_all", ())):
            assert impostor.call(refusal, "t", method, *args) == "AccessError"
        assert impostor.call(refusal, "t", "give_away", os.getpid()) == "NotOwnerError"
        daemon = Daemon(instance)
        with tm.attach("t") as table:
            eventually(lambda: owner_pid(table) == daemon.pid)
        assert impostor.call(open_table, "t") == (True, "heir")
        assert impostor.call(rows, "t") == [(1, "secret")]

    in_own_namespace(world)


def test_a_manager_that_watches_is_not_deceived(instance: str) -> None:
    """Nor where the pid is taken again at once: the table moves, and its former owner is told to be dead."""

    def world() -> None:
        daemon = Daemon(instance)
        owner = Worker()
        owner.call(open_table, "t", access="private")
        owner.call(on_table, "t", "insert", (1, "secret"))
        impostor = successor_of(owner, start := kill(owner))
        with tm.attach("t") as table:
            eventually(lambda: owner_pid(table) == daemon.pid)
        assert impostor.call(refusal, "t", "lookup", 1) == "AccessError"
        table = tm.new_table("t")
        assert table.transfer is not None
        assert table.transfer.from_ == tm.Process(impostor.pid, start, alive=False)
        assert table.lookup(1) == [(1, "secret")]

    in_own_namespace(world)


def test_it_is_neither_heir_nor_bearer_of_a_name(instance: str) -> None:
    """A dead heir's table goes to the manager, and a name is gone with its process."""

    def world() -> None:
        daemon = Daemon(instance)
        heir, owner = Worker(), Worker()
        heir.call(register, "chief")
        owner.call(open_table, "t", heir="chief")
        assert tm.whereis("chief") is not None
        impostor = successor_of(heir, kill(heir))
        assert impostor.call(whereis, "chief") is None
        (info,) = tm.tables()
        assert isinstance(info.heir, tm.Process)
        assert (info.heir.pid, info.heir.alive) == (impostor.pid, False)
        owner.kill()
        with tm.attach("t") as table:
            eventually(lambda: owner_pid(table) == daemon.pid)
        assert list(impostor.call(events)) == []

    in_own_namespace(world)


def test_it_gets_no_gift_that_was_for_another(instance: str) -> None:
    """The bearer of a name dies, and its pid is taken, between the look at the name and the step that hands over."""

    def world() -> None:
        Daemon(instance)
        bearer = Worker()
        bearer.call(register, "chief")
        found = tm.whereis("chief")
        assert found is not None
        with tm.new_table("t") as table:
            successor_of(bearer, kill(bearer))
            with pytest.raises(LookupError):
                table.give_away(found)
            with pytest.raises(LookupError):
                table.setopts(heir=found)
            assert (owner_pid(table), table.info().heir) == (os.getpid(), "manager")

    in_own_namespace(world)


def events(state: State) -> list[tm.Event]:
    """In a worker: what there is."""
    return list(tm.events(0))
