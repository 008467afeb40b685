# SPDX-License-Identifier: Apache-2.0
"""What happened to the tables of this process, told once each and in order: the part of events that tables know of.

The truth is the owner's record in each segment: whose the table is, from whom, why, how the one before ended, and the
number of the transfer. A process only remembers up to which number it was told, which nobody needs after its end. So
nothing is lost with a manager, nothing has to be kept for a process that never asks, and an event is readable from the
moment at which the hand-over is committed.

A table that a manager keeps for others has not come to anybody yet: the manager's process is told of the death alone,
and of the transfer too, before it, if it has become the owner by the time it asks. It is told of a death once, whatever
becomes of the table afterwards; so is who had a monitor on it.

A record is overwritten by the next transfer, which only the owner can make: it puts what it was not told yet aside
first (`put_aside`). Whoever made a transfer rings the bell of the receiver (`bell`), which then looks at that table.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tablemgr import _ffi, codec as codecs, segment_names, segments
from tablemgr._ffi import Handle, RawInfo
from tablemgr.errors import Status, TableError
from tablemgr.segments import Process, TableTransfer, process_now

KEPT_MAX: Final = 10_000  # events that wait in this process's memory
_TABLES_LEAST: Final = 1024  # tables of which is remembered what was told, before those that are gone are looked for
_ALL: Final = 1 << 64  # more than twice the number of any transfer
_END_SECONDS: Final = 0.1  # how long it is hoped for that somebody says how an owner ended

_log = logging.getLogger("tablemgr")


@dataclass(frozen=True, slots=True)
class OwnerDied:
    """The owner of table `name` has ended, and the table has passed to another: this comes after its TableTransfer.

    exit: as in subprocess (negative: the signal that killed it); None if that cannot be learned any more. The kernel
    tells of the dead until their parent has waited for them, and from Linux 6.15 on also later whoever watched them
    before. A manager watches its clients, and other owners as soon as it hears of them. So None may come of who was
    given a table and ended at once, of who ended while no manager ran, and on older kernels wherever a parent is quick.
    """

    name: str
    process: Process
    exit: int | None


@dataclass(frozen=True, slots=True)
class ManagerDown:
    """The instance has no manager any more, or not the one that it had. Tables can be used all the same."""


@dataclass(frozen=True, slots=True)
class ManagerUp:
    """A manager serves the instance, after it had none or another one."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """This process did not read its events, and the oldest `count` of those in its memory were given up."""

    count: int


Event: TypeAlias = TableTransfer | OwnerDied | ManagerDown | ManagerUp | EventsLost


class Mailbox:
    """The events of this process in one instance. Thread-safe.

    ready: a descriptor that is readable while events wait.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.RLock()
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._told: dict[int, int] = {}  # table_id: twice the number of the last transfer told, plus 1 with its death
        self._manager: tuple[float, int, int] | None = None  # since when, pid, start of the one last heard of
        self._is_down = False
        self._deaths: dict[int, tuple[int, int]] = {}  # table_id: the owner of whose end was told last
        self._tidy_at = _TABLES_LEAST  # how many tables in one of these make it worth looking which are gone
        self._open: dict[str, float] = {}  # tables whose OwnerDied waits for an exit status, and until when

    def __del__(self) -> None:
        if hasattr(self, "ready"):
            os.close(self.ready)

    def look(self, names: Iterable[str] | None) -> None:
        """Put events of these tables into the queue, of all if None. What cannot be attached has none."""
        if names is None:
            names = [name for name, _ in segment_names.scan(self.instance)]
        with self._lock:
            seen = [raw for raw in map(self._describe, self._worth_it(names)) if raw is not None]
            self._note(seen)

    def _worth_it(self, names: Iterable[str]) -> list[str]:
        """Those of the tables of which there may be something to tell, in the order of their creation.

        Whether an owner is alive is asked once for all its tables: one that ends meanwhile is told of in a later look.
        """
        me = _ffi.self_process()
        alive: dict[tuple[int, int], bool] = {}
        found = []
        for name in set(names):
            with contextlib.suppress(ValueError):  # not a name: anybody can ring
                status, glance = _ffi.glance(segment_names.segment_name(self.instance, name))
                if status != _ffi.OK:
                    continue
                if glance.owner == me:
                    worth_it = glance.transfer_seq > 0 and self._told.get(glance.table_id, 0) <= 2 * glance.transfer_seq
                else:  # it may be this process's as soon as somebody notices a death
                    worth_it = glance.heir_process == me and not _is_alive(glance.owner, alive)
                if worth_it:
                    found.append((glance.created_ns, name))
        return [name for _, name in sorted(found)]

    def put_aside(self, handle: Handle) -> None:
        """Put events of a table into the queue that this process is about to part with, after those of before."""
        with self._lock, contextlib.suppress(TableError, OSError):
            raw = handle.describe()
            if raw.transfer_seq > 0 and self._told.get(raw.table_id, 0) <= 2 * raw.transfer_seq:
                self.look(None)
                self._note([handle.describe()], finally_=True)

    def met_manager(self, pid: int, start: int, since: float) -> None:
        """A manager introduced itself: tell, if it is another one than before."""
        with self._lock:
            manager, before = (since, pid, start), self._manager
            if before is not None and not self._is_down and manager <= before:
                return  # known, or of a greeting that was overtaken; while none is there, the clock may be set back
            news: list[Event] = [ManagerDown()] if before is not None and not self._is_down else []
            if before is not None or self._is_down:
                news.append(ManagerUp())
            self._manager, self._is_down = manager, False
            self._put_news(news)

    def lost_manager(self) -> None:
        """There is none: tell, if there was one."""
        with self._lock:
            news: list[Event] = [ManagerDown()] if self._manager is not None and not self._is_down else []
            self._is_down = True
            self._put_news(news)

    def _put_news(self, news: list[Event]) -> None:
        """Of the manager, after what has happened to the tables before it was noticed."""
        if news:
            with contextlib.suppress(OSError):
                self.look(None)
        for event in news:
            self._put(event)

    def forget(self, raw: RawInfo, deaths_too: bool) -> None:
        """Take the transfer that brought this table (deaths_too: and the death before it) for told."""
        with self._lock:
            told = 2 * raw.transfer_seq + int(deaths_too)
            self._told[raw.table_id] = max(self._told.get(raw.table_id, 0), told)
            self._open.pop(raw.name, None)
            self._tidy()

    def mute(self, table_id: int) -> None:
        """Tell nothing of a table until `unmute`: it comes and goes as a matter of course."""
        with self._lock:
            self._told[table_id] = _ALL

    def unmute(self, raw: RawInfo) -> None:
        """Tell of a table again, of what happens to it from now on."""
        with self._lock:
            self._told[raw.table_id] = 2 * raw.transfer_seq + 1

    def put_death(self, table_id: int, event: OwnerDied) -> None:
        """Put a death into the queue that a monitor saw, unless it was told."""
        process = event.process.pid, event.process.start
        with self._lock:
            if self._deaths.get(table_id) != process:
                self._deaths[table_id] = process
                self._put(event)
                self._tidy()

    def take(self) -> Event | None:
        """The oldest event of the queue, which is told with that; None if it is empty."""
        with self._lock:
            self._look_at_open()
            if self._lost:
                lost, self._lost = self._lost, 0
                return EventsLost(lost)
            event = self._queue.popleft() if self._queue else None
            if not self._queue:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self.ready)
            return event

    def due(self) -> float | None:
        """When to call `take` again although nothing is ready, by the monotonic clock; None: never."""
        with self._lock:
            return min(self._open.values(), default=None)

    def _describe(self, name: str) -> RawInfo | None:
        """The table, after its hand-over if its owner is dead; None if it is not this process's."""
        try:
            handle, raw = segments.attach_and_describe(self.instance, name, _ffi.MAP_HEAD)
        except (TableError, OSError, ValueError):
            return None
        handle.close()
        return raw if raw.owner == _ffi.self_process() and not raw.dropped else None

    def _note(self, tables: list[RawInfo], finally_: bool = False) -> None:
        """Transfers first, then deaths, each in the order in which the tables came."""
        me = _ffi.self_process()
        tables = [raw for raw in tables if raw.owner == me and raw.transfer_reason]
        tables.sort(key=lambda raw: (raw.transfer_ns, raw.created_ns, raw.name))
        for raw in tables:
            if self._told.get(raw.table_id, 0) < 2 * raw.transfer_seq and not raw.kept:
                event = _transfer(raw)  # a signal handler may come here in between, as a thread cannot
                self._told[raw.table_id] = 2 * raw.transfer_seq + (raw.transfer_reason == _ffi.REASON_GIFT)
                self._put(event)
        for raw in tables:
            if self._told.get(raw.table_id, 0) > 2 * raw.transfer_seq:
                continue
            if self._deaths.get(raw.table_id) == raw.transfer_from:
                self._told[raw.table_id] = 2 * raw.transfer_seq + 1
                continue
            self._open.setdefault(raw.name, time.monotonic() + _END_SECONDS)
            if finally_ or raw.transfer_end != _ffi.END_OPEN or self._open[raw.name] <= time.monotonic():
                self._deaths[raw.table_id] = raw.transfer_from
                self._told[raw.table_id] = 2 * raw.transfer_seq + 1
                self._open.pop(raw.name, None)
                self._put(_death(raw))
        self._tidy()

    def _tidy(self) -> None:
        """Forget what was told of tables that are no more, now and then."""
        if max(len(self._told), len(self._deaths)) < self._tidy_at:
            return
        try:
            there = self._table_ids() | self._table_ids()  # one look may miss a table that is renamed meanwhile
        except OSError:
            return
        self._told = {table_id: told for table_id, told in self._told.items() if table_id in there}
        self._deaths = {table_id: owner for table_id, owner in self._deaths.items() if table_id in there}
        self._tidy_at = max(_TABLES_LEAST, 2 * len(self._told), 2 * len(self._deaths))

    def _table_ids(self) -> set[int]:
        """Of all tables of the instance. Raises OSError where one cannot be looked at at the moment.

        What this process may not open is none that it was told of.
        """
        found = set()
        for _, segment in segment_names.scan(self.instance):
            status, glance = _ffi.glance(segment)
            denied = status == Status.OS and _ffi.glance_errno() in (errno.EACCES, errno.EPERM, errno.ELOOP)
            if status in (Status.BUSY, Status.NO_MEMORY, Status.OS) and not denied:
                raise OSError(f"{segment} cannot be looked at")
            found.add(glance.table_id)
        return found

    def _look_at_open(self) -> None:
        now = time.monotonic()
        overdue = [name for name, until in self._open.items() if until <= now]
        if overdue:
            seen = {name: self._describe(name) for name in overdue}
            self._note([raw for raw in seen.values() if raw is not None])
            for name in overdue:
                self._open.pop(name, None)  # not this process's any more

    def _put(self, event: Event) -> None:
        if len(self._queue) >= KEPT_MAX:
            self._queue.popleft()
            self._lost += 1
            if self._lost == 1:
                _log.warning("this process does not read the events of instance %r: old ones are lost", self.instance)
        self._queue.append(event)
        if len(self._queue) == 1:
            os.eventfd_write(self.ready, 1)


def _is_alive(process: tuple[int, int], known: dict[tuple[int, int], bool]) -> bool:
    if process not in known:
        known[process] = _ffi.process_alive(*process)
    return known[process]


def _transfer(raw: RawInfo) -> TableTransfer:
    reason = segments.REASONS[raw.transfer_reason]
    assert reason is not None
    try:
        data = codecs.decode_data(raw.transfer_data, codecs.MSGPACK)
    except ValueError:
        data = None  # pickled, and nobody here said that it may be unpickled
    return TableTransfer(raw.name, process_now(*raw.transfer_from), data, reason, raw.transfer_ns / 1e9)


def _death(raw: RawInfo) -> OwnerDied:
    known = raw.transfer_end == _ffi.END_KNOWN
    return OwnerDied(raw.name, process_now(*raw.transfer_from), raw.transfer_exit if known else None)


_mailboxes: dict[str, Mailbox] = {}


def mailbox(instance: str) -> Mailbox:
    """This process's mailbox in an instance, made at the first use."""
    box = _mailboxes.get(instance)
    if box is None:
        box = _mailboxes.setdefault(instance, Mailbox(instance))  # of two made at once, both know of the same
    return box


def put_aside(instance: str, handle: Handle) -> None:
    """To be called before this process parts with a table: what it was not told of it yet is kept in its memory."""
    mailbox(instance).put_aside(handle)


def put_aside_if_any(instance: str, handle: Handle) -> None:
    """The same, unless this process is no client of the instance."""
    box = _mailboxes.get(instance)
    if box is not None:
        box.put_aside(handle)


def _after_fork_in_child() -> None:
    _mailboxes.clear()  # a child is another process: it has no mail yet


os.register_at_fork(after_in_child=_after_fork_in_child)
