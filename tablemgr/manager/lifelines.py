# SPDX-License-Identifier: Apache-2.0
"""Early word of deaths: the lifelines that processes have shown, and threads that sleep on them (csrc/lifeline.c)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable

from tablemgr import _ffi
from tablemgr.manager.decisions import Identity


class Lifelines:
    """Calls `ended(process)` in the loop when the thread that holds the lifeline of a process has ended.

    That thread may have been one of many: whether the process is dead is another question. Where the kernel cannot do
    this, or there are no threads or descriptors left, nothing is called, and deaths are learned of otherwise.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[Identity], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._sleepers: list[_Sleeper] = []
        self._by_process: dict[Identity, _Sleeper] = {}

    def add(self, process: Identity, descriptor: int) -> None:
        """A process has shown its line; if one of it is known already, and has not ended, that counts.

        The descriptor stays the caller's.
        """
        if process in self._by_process or any(not sleeper.works() for sleeper in self._sleepers):
            return
        with contextlib.suppress(OSError, RuntimeError):
            sleeper = next((one for one in self._sleepers if one.has_room()), None)
            if sleeper is None:
                sleeper = _Sleeper(self._loop, self._has_ended)
                self._sleepers.append(sleeper)
            sleeper.add(process, _ffi.Lifeline(descriptor))
            self._by_process[process] = sleeper

    def discard(self, process: Identity) -> None:
        """The line of a process, if it has shown one, is of no more interest."""
        sleeper = self._by_process.pop(process, None)
        if sleeper is not None:
            sleeper.discard(process)

    def close(self) -> None:
        """Forget all lines, and wait for the threads to end."""
        self._by_process.clear()
        for sleeper in self._sleepers:
            sleeper.close()
        self._sleepers.clear()

    def _has_ended(self, process: Identity) -> None:
        if self._by_process.pop(process, None) is not None:
            self._ended(process)


class _Sleeper:
    """A thread that sleeps on as many lines as the kernel takes at once. It alone unmaps them, when it is awake."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[Identity], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._lock = threading.Lock()  # of the two below; the alarm is rung after a change of them
        self._lines: dict[Identity, _ffi.Lifeline] = {}
        self._discarded: list[_ffi.Lifeline] = []
        self._closing = False
        self._alarm = _ffi.Alarm()
        self._thread = threading.Thread(target=self._run, name="tablemgr-lifelines", daemon=True)
        self._thread.start()

    def works(self) -> bool:
        """Whether the kernel does what it takes, as far as is known."""
        return self._thread.is_alive()

    def has_room(self) -> bool:
        """Whether it may be given one more."""
        return len(self._lines) < _ffi.LIFELINES_MAX

    def add(self, process: Identity, line: _ffi.Lifeline) -> None:
        with self._lock:
            self._discarded += filter(None, [self._lines.get(process)])  # it has ended, and is about to be let go of
            self._lines[process] = line
        self._alarm.ring()

    def discard(self, process: Identity) -> None:
        with self._lock:
            line = self._lines.pop(process, None)
            if line is None:
                return
            self._discarded.append(line)
        self._alarm.ring()

    def close(self) -> None:
        self._closing = True
        self._alarm.ring()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the kernel has no way to do this, or the loop is closed
            while self._sleep():
                pass
        with self._lock:
            self._discarded += self._lines.values()
            self._lines.clear()
        self._awake()

    def _sleep(self) -> bool:
        """Until there is something to do, and do it; False: nothing is left to be done."""
        heard = self._alarm.heard()  # first, so that whatever changes after this look at it ends the sleep
        if self._closing:
            return False
        lines = self._awake()
        number = self._alarm.sleep(list(lines.values()), heard)
        if number is not None:
            process, line = list(lines.items())[number]
            self._loop.call_soon_threadsafe(self._ended, process)
            os.sched_yield()  # the loop first: its processor may be this one
            with self._lock:
                if self._lines.get(process) is line:  # the process may have shown another one meanwhile
                    self._discarded.append(self._lines.pop(process))
        return True

    def _awake(self) -> dict[Identity, _ffi.Lifeline]:
        """The lines to sleep on next; those that were discarded until now are unmapped."""
        with self._lock:
            lines, discarded = dict(self._lines), self._discarded
            self._discarded = []
        for line in discarded:
            line.unmap()
        return lines
