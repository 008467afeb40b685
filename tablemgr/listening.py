# SPDX-License-Identifier: Apache-2.0
"""Waiting for events, blocking and in an event loop: the mailbox, the bell, and a connection that tells of the manager.

A process has one listener in an instance, which all its clients and threads share; each event goes to one of them.
Nothing here has a thread: who waits does the work.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

from tablemgr import _ffi, bell, rendezvous
from tablemgr.conversation import MOMENT_SECONDS, Connection, LostError
from tablemgr.errors import TableError
from tablemgr.mailbox import Event, Mailbox, mailbox
from tablemgr.monitoring import Monitor

_RECONNECT_SECONDS: Final = 0.05  # between two looks for a manager while there is none
_LOOK_SECONDS: Final = 0.05  # between two looks at all tables while no manager tells of changes, at least
_LOOK_SHARE: Final = 20  # a look is followed by a pause of so many times its length, however many tables there are


class Listener:
    """The events of this process in one instance, from wherever they come. Thread-safe."""

    def __init__(self, instance: str) -> None:
        self._mailbox: Mailbox = mailbox(instance)
        self._instance = instance
        self._lock = threading.RLock()
        self._epoll = select.epoll()
        self._epoll.register(self._mailbox.ready, select.EPOLLIN)
        self._bell: bell.Bell | None = None
        self._connection: Connection | None = None
        self._greeting: Connection | None = None  # to a manager that has not answered yet, and may be stopped
        self._answer_due = 0.0  # until when its answer is worth a moment to somebody who does not want to wait
        self._monitors: dict[int, Monitor] = {}
        self._next_connect = 0.0
        self._next_look = 0.0
        with contextlib.suppress(OSError):
            self._bell = bell.Bell(instance, _ffi.self_process())
            self._epoll.register(self._bell, select.EPOLLIN)

    def monitor(self, name: str) -> None:
        """Tell of the deaths of a table's owners from now on, as long as there is the table."""
        monitor = Monitor(self._instance, name, self._epoll)
        with self._lock:
            if monitor.table_id in self._monitors:
                monitor.close()
                return
            self._monitors[monitor.table_id] = monitor
            self._register(monitor)

    def iterate(self, silence: float | None) -> Iterator[Event]:
        """The events as they come, until none has come for `silence` seconds."""
        self._look_everywhere()
        while True:
            until = None if silence is None else time.monotonic() + silence
            while True:
                event = self._take()
                if event is not None:
                    break
                end = self._end_of(until)
                if end is not None and time.monotonic() >= end:
                    return
                self._epoll.poll(self._patience(end))
            yield event

    async def aiterate(self, silence: float | None) -> AsyncIterator[Event]:
        """The same without keeping the event loop waiting, which may be the one that the manager runs in."""
        import asyncio  # which most processes that use tables do not need

        self._look_everywhere()
        loop = asyncio.get_running_loop()
        awake = asyncio.Event()
        descriptor = os.dup(self._epoll.fileno())
        loop.add_reader(descriptor, awake.set)
        try:
            while True:
                until = None if silence is None else time.monotonic() + silence
                while True:
                    awake.clear()
                    event = self._take()
                    if event is not None:
                        break
                    end = self._end_of(until)
                    if end is not None and time.monotonic() >= end:
                        return
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(awake.wait(), self._patience(end))
                yield event
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _look_everywhere(self) -> None:
        """At the next turn: what is committed by now is to be told, whether or not anybody rang."""
        with self._lock:
            self._next_look = 0.0
            for monitor in self._monitors.values():
                monitor.due = 0.0

    def _end_of(self, until: float | None) -> float | None:
        """Until when to wait: a manager that was found just now is given a moment to answer in any case."""
        with self._lock:
            return until if until is None or self._greeting is None else max(until, self._answer_due)

    def _patience(self, until: float | None) -> float | None:
        """Seconds until there may be something although no descriptor says so."""
        with self._lock:
            dues = [due for due in (until, self._mailbox.due()) if due is not None]
            dues += [monitor.due for monitor in self._monitors.values()]
            if self._connection is None:
                dues.append(self._next_look)
                if self._greeting is None:
                    dues.append(self._next_connect)
        # a little late rather than a little early, which would be a turn for nothing
        return max(0.0, min(dues) - time.monotonic()) + 0.0005 if dues else None

    def _take(self) -> Event | None:
        """Look where there is reason to, and take what there is; never waits."""
        with self._lock:
            names: set[str] | None = set()
            if self._bell is not None:
                names = self._bell.heard()
            self._keep_in_touch()
            if time.monotonic() >= self._next_look:
                names = None
            if names is None or names:
                self._look(names)
            for monitor in list(self._monitors.values()):
                self._ask(monitor)
            return self._mailbox.take()

    def _look(self, names: set[str] | None) -> None:
        begun = time.thread_time()  # of the processor: it may have been somebody else's turn in between
        self._mailbox.look(names)
        if names is None:
            took = time.thread_time() - begun
            # A manager looks at every table once a second, and rings for each change that it finds.
            watched = self._connection is not None and self._bell is not None
            self._next_look = float("inf") if watched else time.monotonic() + max(_LOOK_SECONDS, took * _LOOK_SHARE)

    def _ask(self, monitor: Monitor) -> None:
        told, exists = monitor.look(has_manager=self._connection is not None)
        for event in told:
            self._mailbox.put_death(monitor.table_id, event)
        if exists:
            self._register(monitor)
            return
        del self._monitors[monitor.table_id]
        monitor.close()

    def _register(self, monitor: Monitor) -> None:
        if monitor.pidfd is not None and not monitor.is_waiting:
            with contextlib.suppress(FileExistsError):  # the same as before
                self._epoll.register(monitor.pidfd, select.EPOLLIN)

    def after_fork_in_child(self) -> None:
        """Close the descriptors that nobody else will."""
        for monitor in self._monitors.values():
            monitor.after_fork_in_child()

    # -- the manager ------------------------------------------------------------------------------------------------

    def _keep_in_touch(self) -> None:
        """Notice that the manager has gone, and look for one while there is none.

        Its greeting says whether it is another one. It is not waited for: one that is stopped keeps nobody waiting.
        """
        if self._connection is not None and not self._connection.is_fresh():
            self._forget(self._connection)
            self._connection.close()
            self._connection = None
            self._next_connect = self._next_look = 0.0
        if self._greeting is not None and not self._greeting.is_fresh():
            self._end_greeting(self._greeting)
        if self._connection is None and self._greeting is None and time.monotonic() >= self._next_connect:
            self._next_connect = time.monotonic() + _RECONNECT_SECONDS
            self._begin_greeting()

    def _begin_greeting(self) -> None:
        try:
            peer = rendezvous.connect(self._instance, seconds=0.0)
        except (TableError, OSError):
            return  # there may be one that is stopped or does not admit this process: no news
        if peer is None:
            self._mailbox.lost_manager()
            return
        self._greeting = Connection(peer, self._instance)
        self._answer_due = time.monotonic() + MOMENT_SECONDS
        self._epoll.register(self._greeting, select.EPOLLIN)

    def _end_greeting(self, greeting: Connection) -> None:
        """It was answered, or never will be."""
        self._greeting = None
        self._forget(greeting)
        try:
            greeting.greet(time.monotonic() + MOMENT_SECONDS)
        except (LostError, TableError):
            return  # it has ended, or does not admit this process: what there is now is seen when it is time again
        self._connection = greeting
        self._next_look = 0.0  # changes of which it could not tell
        self._epoll.register(greeting, select.EPOLLIN)

    def _forget(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(connection)


_listeners: dict[str, Listener] = {}
_making = threading.Lock()


def listener(instance: str) -> Listener:
    """This process's listener in an instance, made at the first use."""
    with _making:
        found = _listeners.get(instance)
        if found is None:
            found = _listeners[instance] = Listener(instance)
    return found


def _after_fork_in_child() -> None:
    """A child is another process: what its parent waits for does not concern it."""
    global _making
    _making = threading.Lock()
    for parents in _listeners.values():
        parents.after_fork_in_child()
    _listeners.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
