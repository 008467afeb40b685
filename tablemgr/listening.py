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
from tablemgr.conversation import Connection, LostError
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
        self._connecting = threading.Lock()  # never waited for: the connection may need the thread that would
        self._epoll = select.epoll()
        self._epoll.register(self._mailbox.ready, select.EPOLLIN)
        self._bell: bell.Bell | None = None
        self._connection: Connection | None = None
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
                if self._connect_if_due():
                    continue
                now = time.monotonic()
                if until is not None and now >= until:
                    return
                self._epoll.poll(self._patience(until))
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
                    if self._is_connect_due() and await asyncio.to_thread(self._connect_if_due):
                        continue
                    now = time.monotonic()
                    if until is not None and now >= until:
                        return
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(awake.wait(), self._patience(until))
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

    def _patience(self, until: float | None) -> float | None:
        """Seconds until there may be something although no descriptor says so."""
        with self._lock:
            dues = [due for due in (until, self._mailbox.due()) if due is not None]
            dues += [monitor.due for monitor in self._monitors.values()]
            if self._connection is None:
                dues += [self._next_connect, self._next_look]
        # a little late rather than a little early, which would be a turn for nothing
        return max(0.0, min(dues) - time.monotonic()) + 0.0005 if dues else None

    def _take(self) -> Event | None:
        """Look where there is reason to, and take what there is; never waits."""
        with self._lock:
            names: set[str] | None = set()
            if self._bell is not None:
                names = self._bell.heard()
            if self._connection is not None and not self._connection.is_fresh():
                self._lose_connection()
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
        if monitor.pidfd is not None:
            with contextlib.suppress(FileExistsError):  # the same as before
                self._epoll.register(monitor.pidfd, select.EPOLLIN)

    # -- the manager ------------------------------------------------------------------------------------------------

    def _is_connect_due(self) -> bool:
        return self._connection is None and time.monotonic() >= self._next_connect

    def _connect_if_due(self) -> bool:
        """Look for a manager while there is none: its greeting says whether it is another one.

        Returns whether it has looked.
        """
        if not self._is_connect_due() or not self._connecting.acquire(blocking=False):
            return False
        try:
            connection = self._connect()
            with self._lock:
                self._connection = connection
                self._next_connect = time.monotonic() + _RECONNECT_SECONDS
                if connection is not None:
                    self._epoll.register(connection, select.EPOLLIN)
                    self._next_look = 0.0  # changes of which it could not tell
        finally:
            self._connecting.release()
        return True

    def _connect(self) -> Connection | None:
        try:
            peer = rendezvous.connect(self._instance)
            if peer is not None:
                return Connection(peer, self._instance)
        except LostError:
            pass
        except (TableError, OSError):
            return None  # there is one, and it is stopped or does not admit this process: no news
        self._mailbox.lost_manager()
        return None

    def _lose_connection(self) -> None:
        assert self._connection is not None
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(self._connection)
        self._connection.close()
        self._connection = None
        self._next_connect = self._next_look = 0.0


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
    _listeners.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
