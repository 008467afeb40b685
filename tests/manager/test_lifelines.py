"""A death is known before the kernel tells of it, and nobody is taken for dead who is not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
import threading

import pytest

import tablemgr as tm
from tablemgr import _ffi
from tablemgr.manager.decisions import Identity
from tablemgr.manager.lifelines import Lifelines

from .support import Daemon, State, Worker, eventually, line_length, on_table, open_table, owner_pid, until_equal
from .test_events import events, shown

_SEIZE = 0x4206  # PTRACE_SEIZE
_OF_ANY_KIND = 0x40000000  # __WALL: threads of other processes, too


def seize_a_thread(pid: int) -> int:
    """Trace a thread that is not the main one: until its end is looked at, the process has not ended."""
    thread = max(int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid)
    assert ctypes.CDLL(None).ptrace(_SEIZE, thread, None, None) == 0
    return thread


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_standby_has_the_table_before_the_kernel_tells(daemon: Daemon, instance: str, number: signal.Signals) -> None:
    """The owner's pidfd is not readable yet, and cannot be; how it ended is known all the same."""
    owner, standby = Worker(), Worker()
    owner.call(open_table, "t")
    owner.call(on_table, "t", "insert", (1, "x"))
    standby.start(open_table, "t", wait=None)
    until_equal(1, line_length, instance)
    pidfd = os.pidfd_open(owner.pid)
    thread = seize_a_thread(owner.pid)
    owner.signal(number)
    assert standby.result() == (True, "heir")
    assert select.select([pidfd], [], [], 0)[0] == []
    os.close(pidfd)
    assert standby.call(on_table, "t", "lookup", 1) == [(1, "x")]
    assert shown(standby.call(events, least=2)) == [
        ("transfer", "t", owner.pid, "heir", None),
        ("died", "t", owner.pid, -number),
    ]
    assert os.waitpid(thread, _OF_ANY_KIND)[0] == thread


def open_in_a_thread(state: State, name: str) -> None:
    """In a worker: new_table in a thread that has ended when this returns."""
    thread = threading.Thread(target=open_table, args=(state, name))
    thread.start()
    thread.join()


def test_an_owner_goes_on_without_the_thread_that_claimed(daemon: Daemon, instance: str) -> None:
    """It stays the owner; when it ends, that is noticed, too."""
    owner = Worker()
    owner.call(open_in_a_thread, "t")
    owner.call(on_table, "t", "insert", (1, "x"))
    with tm.attach("t") as table:
        for _ in range(20):
            assert tm.Client(instance).info().manager is not None  # the manager has had its turn
            assert owner_pid(table) == owner.pid
        owner.kill()
        eventually(lambda: owner_pid(table) == daemon.pid)
        assert list(table) == [(1, "x")]


def test_more_lines_than_one_thread_can_sleep_on() -> None:
    """Each of 300 processes is told of once, and a line that was discarded not at all."""
    assert 2 * _ffi.LIFELINES_MAX < 300
    owner = Worker()
    line = os.open(f"/proc/{owner.pid}/fd/{owner.call(show_lifeline)}", os.O_RDONLY)
    told: list[Identity] = []

    async def watch() -> None:
        lifelines = Lifelines(asyncio.get_running_loop(), told.append)
        for pid in range(300):
            lifelines.add(Identity(pid, 1), line)
        for pid in range(0, 300, 3):
            lifelines.discard(Identity(pid, 1))
        owner.kill()
        deadline = asyncio.get_running_loop().time() + 30
        while len(told) < 200 and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.001)
        lifelines.close()

    asyncio.run(watch())
    os.close(line)
    assert sorted(told) == [Identity(pid, 1) for pid in range(300) if pid % 3]


def show_lifeline(state: State) -> int:
    """In a worker: the descriptor of its line."""
    return _ffi.lifeline()
