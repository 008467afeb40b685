"""A death is known before the kernel tells of it, and nobody is taken for dead who is not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
import threading
import time

import pytest

import tablemgr as tm
from tablemgr import _ffi
from tablemgr.manager import lifelines
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
    most = _ffi.LIFELINES_MAX
    assert 2 * most < 300 <= 3 * most
    owners = [Worker() for _ in range(3)]  # of each one's line the kernel wakes one sleeper
    lines = [os.open(f"/proc/{owner.pid}/fd/{owner.call(show_lifeline)}", os.O_RDONLY) for owner in owners]
    told: list[Identity] = []

    async def watch() -> None:
        watched = Lifelines(asyncio.get_running_loop(), told.append)
        for pid in range(300):
            watched.add(Identity(pid, 1), lines[pid // most])
        for pid in range(0, 300, 3):
            watched.discard(Identity(pid, 1))
        for owner in owners:
            owner.kill()
        deadline = asyncio.get_running_loop().time() + 30
        while len(told) < 200 and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.001)
        watched.close()

    asyncio.run(watch())
    for line in lines:
        os.close(line)
    assert sorted(told) == [Identity(pid, 1) for pid in range(300) if pid % 3]


def show_lifeline(state: State) -> int:
    """In a worker: the descriptor of its line."""
    return _ffi.lifeline()


class _HeardLate(_ffi.Alarm):
    """One whose sleeper is slow: between a look at what there is to do and the alarm it is overtaken by `close`."""

    rung = threading.Event()

    def ring(self) -> None:
        super().ring()
        self.rung.set()

    def heard(self) -> int:
        self.rung.wait(10)
        return super().heard()


def test_a_sleeper_that_is_slow_hears_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is told to close, its thread ends."""
    monkeypatch.setattr(_ffi, "Alarm", _HeardLate)

    async def close() -> None:
        sleeper = lifelines._Sleeper(asyncio.get_running_loop(), lambda _: None)
        threading.Thread(target=sleeper.close, daemon=True).start()
        deadline = time.monotonic() + 5
        while sleeper.works() and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        assert not sleeper.works()

    asyncio.run(close())


def test_a_line_shown_anew_is_slept_on() -> None:
    """A process whose holder has ended shows another line before the sleeper has let go of the first one."""
    gone, living = Worker(), Worker()
    lines = [os.open(f"/proc/{worker.pid}/fd/{worker.call(show_lifeline)}", os.O_RDONLY) for worker in (gone, living)]
    gone.kill()
    process = Identity(1, 1)
    told: list[Identity] = []

    async def watch() -> None:
        heard = asyncio.Event()

        def ended(which: Identity) -> None:
            told.append(which)
            heard.set()
            watched.add(which, lines[1])

        watched = Lifelines(asyncio.get_running_loop(), ended)
        for _ in range(50):
            watched.add(process, lines[0])
            await heard.wait()
            heard.clear()
            await asyncio.sleep(0.002)
            assert list(watched._sleepers[0]._lines) == [process]
            watched.discard(process)
            told.clear()
        watched.close()

    asyncio.run(watch())
    for line in lines:
        os.close(line)
    with open("/proc/self/maps") as maps:
        assert sum("tablemgr-lifeline" in line for line in maps) <= 1
