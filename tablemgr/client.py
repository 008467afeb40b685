# SPDX-License-Identifier: Apache-2.0
"""Opening tables through the manager: `Client`.

A conversation with the manager is a way to learn that the owner word in a segment has changed, never the truth itself.
So whatever happens to the manager, the connection or this process's patience, a call ends the same way: ask again, or
look at the segment. That makes every call here survive SIGKILL of the manager at any moment.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tablemgr import _ffi, codec as codecs, listening, names, protocol, rendezvous, segments, table as tables
from tablemgr.claiming import Claims, note_transfer
from tablemgr.conversation import ANSWER_SECONDS, MOMENT_SECONDS, POLL_SECONDS, Conversations, LostError
from tablemgr.errors import (
    ManagerUnavailableError,
    NotOwnerError,
    Status,
    TableExistsError,
    TableMismatchError,
    TableNotFoundError,
    TableOwnedError,
)
from tablemgr.mailbox import Event, mailbox
from tablemgr.namespace import Namespace
from tablemgr.options import check_match, check_options, seconds_of
from tablemgr.segment_names import resolve_instance
from tablemgr.segments import Process, TableInfo, process_now
from tablemgr.table import Table


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """What `info` tells of an instance; all of it a moment old.

    manager: the process that serves it (None: none does), since: when that began, epoch seconds; tables: all of the
    instance's; waiting: the first 32 processes that stand in line, with the name of the table.
    """

    instance: str
    manager: Process | None
    since: float | None
    tables: tuple[TableInfo, ...]
    waiting: tuple[tuple[str, Process], ...]


class Client(Namespace):
    """One instance: the way to its manager, and its tables; any number of clients may exist.

    instance: the namespace of tables; None: TABLEMGR_INSTANCE or "default".
    autostart: start a manager where a call needs one and none runs; None: unless TABLEMGR_AUTOSTART is 0.

    Guarantee: thread-safe; usable in a forked child, which is another process to the manager; calls that are under way
    when the manager dies, also those that wait in line, find its successor by themselves and mean the same there.
    """

    def __init__(self, instance: str | None = None, *, autostart: bool | None = None) -> None:
        self.instance = resolve_instance(instance)
        self._manager = Conversations(self.instance, autostart)
        self._claims = Claims(self.instance, self._manager)

    def __repr__(self) -> str:
        return f"<Client of instance {self.instance!r}>"

    def new_table(
        self,
        name: str,
        *,
        type: str = "set",
        access: str = "protected",
        keypos: int = 0,
        heir: Any = "manager",
        heir_data: Any = None,
        max_bytes: int | None = None,
        mode: int = 0o600,
        codec: str = "msgpack",
        wait: float | None = 0.0,
        lock_timeout: float = 10.0,
    ) -> Table:
        """Own the table: create it, or get it with its rows if its owner is dead or is this process.

        wait: seconds to stand in line while another live process owns it (None: for ever); those in line are served
        in the order of asking. lock_timeout: seconds that writes of the returned table wait for a lock. access,
        max_bytes and mode are used at creation only; heir and heir_data become those of the table in any case. An heir
        that dies while the call waits leaves the manager as heir of a table that is handed over.

        Returns the table; `inherited` says whether it came from a predecessor and `transfer` from whom. Raises
        TableOwnedError if a live process owns it when the wait is over, TableMismatchError if it exists with another
        type, keypos or codec, ManagerUnavailableError without a manager, and what `create` raises.

        Guarantee: of all callers at one time exactly one becomes the owner. Killed at any moment, the caller has it or
        does not, and a successor gets it in both cases. A call that raises leaves table and owner as they were.
        """
        asked = time.monotonic()
        until = None if wait is None else asked + seconds_of(wait, "wait")
        lock_timeout = seconds_of(lock_timeout, "lock_timeout")
        options: dict[str, Any] = {
            "type": type,
            "access": access,
            "keypos": keypos,
            "heir": heir,
            "heir_data": heir_data,
            "max_bytes": max_bytes,
            "mode": mode,
            "codec": codec,
        }
        wanted = check_options(**options, instance=self.instance)
        if wanted.heir == _ffi.HEIR_PROCESS and not _ffi.process_alive(*wanted.heir_process):
            raise LookupError(f"new_table: the heir of table {name!r}, process {wanted.heir_process[0]}, is not alive")
        while True:
            taken = self._claims.claim(
                "new_table",
                name,
                lambda seen: check_match(seen, wanted, "new_table"),
                (codec, lock_timeout),
                (wanted.heir, wanted.heir_process, wanted.heir_data),
                (asked, until),
            )
            if taken is not None:
                return taken[0]
            with contextlib.suppress(TableExistsError):  # another caller was faster: see who owns it now
                fresh = tables.create(name, lock_timeout=lock_timeout, instance=self.instance, **options)
                self._manager.tell(protocol.Watch(name))
                return fresh

    def claim_table(
        self,
        name: str,
        create: Callable[[str], Table],
        *,
        populate: Callable[[Table], object] | None = None,
        monitor: bool = False,
        heir_data: Any = None,
        wait: float | None = 0.0,
        codec: str = "msgpack",
        lock_timeout: float = 10.0,
    ) -> Table:
        """Own the table: get the one that a dead owner left, else the one that `create(name)` makes and returns.

        create: is called in this process, where there is no such table, and returns the new one, which it made in the
        thread that called it; what heir it chose does not matter. populate: is then called with the table; if it
        raises, or this process is killed meanwhile, there is no table afterwards. The heir becomes the manager, told
        heir_data. codec: of the table that is there, as for attach. wait: seconds to stand in line while a live process
        owns it (None: ever).
        monitor: tell this process by `OwnerDied` how the owner before ended, and how later ones end to whom it gives
        the table away, also the one with whom it goes. A table remembers its last transfer only: of several owners that
        end while this process does not read its `events`, it is told of the last. Otherwise this call tells of neither:
        the transfer is in the returned table's `transfer`.

        Raises TableOwnedError if a live process owns it when the wait is over, at once if that is this process,
        ManagerUnavailableError without a manager, what create or populate raises, and TypeError, ValueError or
        NotOwnerError if what create returns is not a Table of that name and instance which this process owns.

        Guarantee: of all processes that call at one time exactly one becomes the owner, and all of its threads with it;
        nobody gets a table half populated.
        """
        if not callable(create) or not (populate is None or callable(populate)):
            raise TypeError("claim_table: create is a function of a name, populate one of a Table or None")
        asked = time.monotonic()
        until = None if wait is None else asked + seconds_of(wait, "wait")
        data = codecs.encode_data(heir_data, codec)

        def check(seen: _ffi.RawInfo) -> None:
            if seen.owner == _ffi.self_process() and not seen.kept:
                raise TableOwnedError(f"claim_table: this process owns table {name!r} already")
            if seen.codec != codecs.number_of(codec):
                raise TableMismatchError(
                    f"claim_table: table {name!r} exists with codec {codecs.name_of(seen.codec)!r}, not {codec!r}"
                )

        while True:
            taken = self._claims.claim(
                "claim_table", name, check, (codec, lock_timeout), (_ffi.HEIR_MANAGER, (0, 0), data), (asked, until)
            )
            if taken is not None:
                table, raw = taken
                mailbox(self.instance).forget(raw, deaths_too=not monitor)
                return self._watched(table, monitor)
            made = self._claims.make(name, create, populate, data)
            if made is not None:
                return self._watched(made, monitor)

    def abandon_table(self, table: Table) -> None:
        """Let the manager forget a table: it goes when its owner, this process, ends.

        Raises NotOwnerError unless this process owns it, TableNotFoundError if it is gone or not under management.
        Needs no manager.
        """
        if not isinstance(table, Table):
            raise TypeError(f"abandon_table takes the Table itself, not {table.__class__.__name__}")
        self._unmanage(table, "abandon_table")

    def add_table(self, table: Table, *, heir_data: Any = None) -> None:
        """Put a table under management: its heir becomes the manager, told heir_data.

        The caller owns it, or nobody alive does: then the caller owns it afterwards. Raises NotOwnerError if another
        live process owns it, TableNotFoundError if it was dropped, ManagerUnavailableError without a manager.
        Guarantee: killed at any moment, the table is managed or it is not; rows are never touched.
        """
        if not isinstance(table, Table):
            kind = table.__class__.__name__
            raise TypeError(f"add_table takes the Table itself, not {kind}: attach() or create() gives one")
        handle = table._handle
        seen = handle.describe("add_table")
        if seen.gone:
            handle.fail(Status.NO_TABLE, "add_table")
        if table.instance != self.instance:
            raise ValueError(f"table {table.name!r} belongs to instance {table.instance!r}, not {self.instance!r}")
        try:
            data = codecs.encode_data(heir_data, table.codec)
        except Exception as error:
            handle.blame("add_table", error)
        now = time.monotonic()
        reply = self._manager.ask(protocol.Claim(table.name, seen.table_id, now, now), now)
        if isinstance(reply, protocol.Owned):
            raise NotOwnerError(
                f"table {table.name!r} is owned by process {reply.pid}: only that process may put it under management"
            )
        if not isinstance(reply, protocol.Given):
            raise TableNotFoundError(f"table {table.name!r} is gone")
        raw = handle.describe()
        if raw.owner != seen.owner:
            note_transfer(table, raw)
        handle.setopts(heir=_ffi.HEIR_MANAGER, heir_data=data)
        self._manager.tell(protocol.Watch(table.name))

    def del_table(self, table: Table | str) -> None:
        """End the management of a table: its heir becomes none; it stays with its owner and goes when that ends.

        Raises NotOwnerError unless the caller owns it, TableNotFoundError if there is no such table or it is not under
        management. Needs no manager.
        """
        if isinstance(table, Table):
            self._unmanage(table, "del_table")
        elif isinstance(table, str):
            try:
                attached = tables.attach(table, instance=self.instance)
            except TableNotFoundError:
                raise TableNotFoundError(
                    f"del_table: there is no table {table!r}; tables() lists what there is"
                ) from None
            with attached:
                self._unmanage(attached, "del_table")
        else:
            raise TypeError(f"del_table takes a Table or a name, not {table.__class__.__name__}")

    def register(self, name: str) -> None:
        """Give this process a name in the instance, by which it can be made an heir or be given tables.

        It is gone with the process; managers come and go without it. A process may have several. Raises ValueError if a
        live process has it, or it cannot be a name; "manager" cannot. Needs no manager. Of any number of processes that
        ask at once, one gets it.
        """
        names.register(self.instance, name)

    def whereis(self, name: str) -> Process | None:
        """The live process that registered under this name; None if there is none. Needs no manager."""
        found = names.whereis(self.instance, name)
        return None if found is None else Process(*found, alive=True)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """What happens to this process's tables and to the manager, as it happens: each event once, in order.

        TableTransfer: a table has become this process's, by gift, inheritance or claim (new_table's too).
        OwnerDied: the owner before has ended, and the table has passed to this process, or to the manager that this
        process runs; or see claim_table(monitor=True). It comes after the TableTransfer of that death, and after those
        of all tables that passed by the same death.
        ManagerDown, ManagerUp: since the first contact of this process with a manager, or the first call of this.
        EventsLost: this process let more than 10,000 events lie; the oldest are gone.

        timeout: seconds of silence after which the iterator ends (0: what there is now); None: never. All clients,
        threads and iterators of a process share one mailbox: each event goes to one of them. Needs no manager, but
        without one events come up to a second later where there are many tables.

        Guarantee: events stand in the tables until they are read here, so none is lost with a manager, and none while
        this process does something else. They are this process's: a forked child has its own.
        """
        return listening.listener(self.instance).iterate(_silence(timeout))

    def aevents(self, timeout: float | None = None) -> AsyncIterator[Event]:
        """`events` for `async for`: it keeps no event loop waiting."""
        return listening.listener(self.instance).aiterate(_silence(timeout))

    def info(self) -> InstanceInfo:
        """The instance as it is: its manager if one runs, its tables, who waits. Starts nothing, changes nothing."""
        manager: Process | None = None
        since: float | None = None
        waiting: tuple[tuple[str, Process], ...] = ()
        with contextlib.suppress(LostError), self._manager.borrow(may_start=False) as connection:
            if connection is not None:
                welcome = connection.welcome
                report = connection.ask(protocol.Status(), ANSWER_SECONDS)
                manager, since = process_now(welcome.pid, welcome.start), welcome.since
                if isinstance(report, protocol.StatusReport):
                    waiting = tuple((w.name, process_now(w.pid, w.start)) for w in report.waiting)
        return InstanceInfo(self.instance, manager, since, tuple(segments.tables(self.instance)), waiting)

    def wait_for_manager(self, timeout: float | None = None) -> None:
        """Return as soon as a manager serves the instance; starts none.

        timeout is in seconds (None: for ever). Raises ManagerUnavailableError when it is over, and at once if there is
        one that does not admit this process.
        """
        deadline = math.inf if timeout is None else time.monotonic() + seconds_of(timeout, "timeout")
        while True:
            try:
                with self._manager.borrow(may_start=False, seconds=_left(deadline)) as connection:
                    if connection is not None:
                        connection.ask(protocol.Status(), _left(deadline))
                        return
            except LostError:
                pass  # it has ended
            if time.monotonic() >= deadline:
                raise ManagerUnavailableError(f"instance {self.instance!r} has no manager after {timeout:g} seconds")
            time.sleep(POLL_SECONDS)

    def stop_manager(self, timeout: float = 10.0) -> None:
        """Make the instance's manager end, and return when it has; tables that it holds stay as orphans.

        timeout is in seconds. Raises ManagerUnavailableError if none runs, or if it has not ended by then.
        """
        deadline = time.monotonic() + seconds_of(timeout, "timeout")
        try:
            with self._manager.borrow(may_start=False, seconds=_left(deadline)) as connection:
                if connection is None:
                    raise ManagerUnavailableError(f"instance {self.instance!r} has no manager")
                connection.ask(protocol.Stop(), _left(deadline))
        except LostError:
            pass  # it ended without an answer
        lock = rendezvous.FileLock(self.instance, "lock")
        while not lock.acquire():
            if time.monotonic() > deadline:
                raise ManagerUnavailableError(
                    f"the manager of {self.instance!r} did not end within {timeout:g} seconds"
                )
            time.sleep(POLL_SECONDS)
        lock.release()

    def close(self) -> None:
        """Close the connections that are kept for the next call; the client stays usable."""
        self._manager.close()

    def _watched(self, table: Table, monitor: bool) -> Table:
        if monitor:
            listening.listener(self.instance).monitor(table.name)
        return table

    def _unmanage(self, table: Table, doing: str) -> None:
        raw = table._own(doing)
        if raw.heir == _ffi.HEIR_NONE:
            raise TableNotFoundError(f"{doing}: table {table.name!r} is not under management: it has no heir")
        table.setopts(heir=None)
        if table.instance == self.instance:
            self._manager.tell(protocol.Watch(table.name))


def _left(deadline: float) -> float:
    """Seconds until a time of the monotonic clock; a manager gets a moment to answer in any case."""
    return max(MOMENT_SECONDS, deadline - time.monotonic())


def _silence(timeout: float | None) -> float | None:
    return None if timeout is None else seconds_of(timeout, "timeout")
