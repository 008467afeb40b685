# SPDX-License-Identifier: Apache-2.0
"""The tables of an instance in the manager's hands: found, settled after a death, inherited, given away.

Everything that must survive the manager is in the segments; an `Estate` is a view of them that can be thrown away and
made again. A segment also says whether its owner only keeps it: where the manager lives inside an application's
process, that tells the tables it holds for others from those that the application owns.

It reaches segments through `Outside`, so its tests need neither shared memory nor processes.
"""

from __future__ import annotations

import enum
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from tablemgr import _ffi, segments
from tablemgr.errors import LockTimeoutError, NotOwnerError, TableError, TableNotFoundError
from tablemgr.manager.decisions import Identity, Record, in_order
from tablemgr.manager.journal import Event, Journal

LOCK_SECONDS = 0.1  # who holds a control lock for longer is stopped; the next round tries again

_log = logging.getLogger("tablemgr.manager")


class Description(Protocol):
    """What the estate reads of `_ffi.RawInfo`."""

    @property
    def owner(self) -> tuple[int, int]:
        """pid and start of the owner."""

    @property
    def owner_alive(self) -> bool:
        """Whether that process is alive."""

    @property
    def table_id(self) -> int:
        """Tells the table from another that bore the same name."""

    @property
    def created_ns(self) -> int:
        """Nanoseconds since the epoch."""

    @property
    def dropped(self) -> bool:
        """The table is gone, but for its memory."""

    @property
    def foreign_namespace(self) -> bool:
        """Its processes are not in the manager's pid or time namespace."""

    @property
    def kept(self) -> bool:
        """The owner is a manager that inherited the table for others."""


class TableHandle(Protocol):
    """What the estate asks of `_ffi.Handle`."""

    def describe(self) -> Description:
        """The table as it is now."""

    def settle(self) -> int:
        """Carry out what the heir says if the owner is dead."""

    def claim(self, what: int) -> None:
        """Become the owner of an orphan."""

    def pass_on(self, pid: int, kept: bool) -> None:
        """Make another process the owner of a table that is kept; kept: it keeps it, too."""

    def close(self) -> None:
        """End the use of the handle."""


class Outside(Protocol):
    """The world the estate acts in."""

    @property
    def me(self) -> Identity:
        """The manager's process."""

    def segments(self) -> dict[str, int]:
        """Every table name of the instance that is this user's, with its segment's inode number."""

    def inode(self, name: str) -> int | None:
        """The inode number of one table's segment; None if there is none."""

    def attach(self, name: str) -> TableHandle:
        """A handle on the head of the table's segment. Raises TableError, OSError."""

    def mortal(self) -> AbstractContextManager[Identity]:
        """A process that is dead when the block ends."""


class UnmanageableError(Exception):
    """The table is there, but the manager cannot act on it; the message says why. busy: for the moment."""

    def __init__(self, message: str, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


class Given(enum.Enum):
    """What became of handing a table over."""

    DONE = "done"
    RECEIVER_DEAD = "receiver dead"  # and the manager holds it on
    LOST = "lost"  # somebody dropped it, or claimed it to drop it: look again


def _cannot(name: str, error: Exception) -> UnmanageableError:
    busy = isinstance(error, LockTimeoutError)
    return UnmanageableError(f"the manager cannot use table {name!r}: {error}", busy)


@dataclass(slots=True)
class _Entry:
    handle: TableHandle
    inode: int


class Estate:
    """All tables of one instance. Not thread-safe: it belongs to the manager's loop."""

    def __init__(self, outside: Outside, journal: Journal | None = None) -> None:
        self._outside = outside
        self._journal = journal or Journal()
        self._entries: dict[str, _Entry] = {}
        self._records: dict[str, Record] = {}
        self._reported: set[tuple[str, int]] = set()

    @property
    def me(self) -> Identity:
        """The manager's process."""
        return self._outside.me

    @property
    def n_tables(self) -> int:
        """How many tables there are, as last seen."""
        return len(self._records)

    def records(self) -> list[Record]:
        """The tables as last seen, in the order of their creation."""
        return in_order(self._records.values())

    def look(self, name: str) -> Record | None:
        """The table as it is now, after settling its owner's death if that is due; None if there is none.

        An orphan is inherited by the manager on the way. Raises UnmanageableError where the manager can do nothing.
        """
        try:
            record = self._look(name)
        except UnmanageableError:
            self._records.pop(name, None)
            raise
        except TableNotFoundError:
            record = None  # dropped while we looked
        except (TableError, OSError, ValueError) as error:
            self._records.pop(name, None)
            raise _cannot(name, error) from error
        if record is None:
            self._forget(name)
        else:
            self._records[name] = record
        return record

    def round(self) -> None:
        """Look at every table of the instance, old and new, in the order of their creation, then at the unknown."""
        found = self._outside.segments()
        for name in self._entries.keys() - found.keys():
            self._forget(name)
        names = [record.name for record in self.records()]
        names += sorted(found.keys() - set(names))
        self._reported &= set(found.items())
        discovered = []
        for name in names:
            try:
                if name in self._records or self._attach(name, found[name]):
                    discovered.append(name)
            except UnmanageableError as error:
                self._report(name, found[name], error)
        for name in self._by_creation(discovered):
            try:
                self.look(name)
            except UnmanageableError as error:
                self._report(name, found.get(name, 0), error)

    def owned_by(self, process: Identity) -> list[str]:
        """The tables whose segments name this process as their owner now, in the order of their creation."""
        return [
            record.name
            for record in self.records()
            if not record.held and (record.owner == process or self._owner_word(record.name) == process)
        ]

    def give(self, record: Record, receiver: Identity, kept: bool = False) -> Given:
        """Hand a held table over, as inherited from its last owner. kept: the receiver holds it for others, too."""
        try:
            self._entries[record.name].handle.pass_on(receiver.pid, kept)
        except (TableNotFoundError, NotOwnerError):
            return Given.LOST
        except LookupError:
            return Given.RECEIVER_DEAD
        except (TableError, OSError) as error:
            raise _cannot(record.name, error) from error
        self._records[record.name] = Record(record.name, record.table_id, receiver, record.created, held=False)
        return Given.DONE

    def release(self) -> None:
        """Make orphans of the tables that the manager holds, though its process lives on.

        An orphan is a table whose owner is dead: they are given to a process that ends at once.
        """
        held = [record for record in self.records() if record.held]
        if not held:
            return
        try:
            with self._outside.mortal() as mortal:
                for record in held:
                    self.give(record, mortal, kept=True)
        except (UnmanageableError, OSError) as error:
            _log.warning("tables stay with process %d until it ends: %s", self.me.pid, error)

    def close(self) -> None:
        """Forget all tables; what the manager holds stays its property until its process ends."""
        for name in list(self._entries):
            self._forget(name)

    def _look(self, name: str) -> Record | None:
        inode = self._outside.inode(name)
        if inode is None or not self._attach(name, inode):
            return None
        handle = self._entries[name].handle
        raw = handle.describe()
        if raw.dropped:
            return None
        if raw.foreign_namespace:
            raise UnmanageableError(f"table {name!r} belongs to another pid or time namespace than the manager's")
        if raw.owner != self.me and not raw.owner_alive:
            status = handle.settle()
            if status == _ffi.NO_TABLE:
                return None
            if status == _ffi.ABSENT:
                handle.claim(_ffi.CLAIM_TO_KEEP)
                self._journal.note(Event.INHERITED, table=name, previous=raw.owner[0])
            raw = handle.describe()
        return Record(name, raw.table_id, Identity(*raw.owner), raw.created_ns, raw.owner == self.me and raw.kept)

    def _attach(self, name: str, inode: int) -> bool:
        """Make sure that the handle under this name is on this very segment."""
        entry = self._entries.get(name)
        if entry is not None and entry.inode == inode:
            return True
        self._forget(name)
        try:
            self._entries[name] = _Entry(self._outside.attach(name), inode)
        except TableNotFoundError:
            return False
        except (TableError, OSError) as error:
            raise _cannot(name, error) from error
        return True

    def _by_creation(self, names: list[str]) -> list[str]:
        created = {}
        for name in names:
            try:
                created[name] = self._entries[name].handle.describe().created_ns
            except (TableError, OSError):
                created[name] = 0  # look() will say what is wrong with it
        return sorted(names, key=lambda name: (created[name], name))

    def _owner_word(self, name: str) -> tuple[int, int] | None:
        try:
            return self._entries[name].handle.describe().owner
        except (TableError, OSError):
            return None

    def _forget(self, name: str) -> None:
        self._records.pop(name, None)
        entry = self._entries.pop(name, None)
        if entry is not None:
            entry.handle.close()

    def _report(self, name: str, inode: int, error: UnmanageableError) -> None:
        """Log once per segment what will be the same every second."""
        if (name, inode) not in self._reported:
            self._reported.add((name, inode))
            _log.warning("%s", error)


class SharedMemory:
    """The real outside: the segments of one instance in /dev/shm, as far as they belong to this user."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._me = Identity(*_ffi.self_process())

    @property
    def me(self) -> Identity:
        """This process."""
        return self._me

    def segments(self) -> dict[str, int]:
        """Names and inode numbers; another user's segments are that user's manager's business."""
        found = {}
        for name, _ in segments.scan(self._instance):
            try:
                inode = self.inode(name)
            except UnmanageableError:
                continue
            if inode is not None:
                found[name] = inode
        return found

    def inode(self, name: str) -> int | None:
        """The inode number; None if there is no such segment. Raises UnmanageableError if it is another user's."""
        try:
            info = os.stat("/dev/shm" + segments.segment_name(self._instance, name), follow_symlinks=False)
        except FileNotFoundError:
            return None
        if info.st_uid != os.geteuid():
            raise UnmanageableError(
                f"table {name!r} belongs to {_ffi.user_text(info.st_uid)}: only a manager of that user serves it"
            )
        return info.st_ino

    def attach(self, name: str) -> TableHandle:
        """A handle with the head mapped."""
        handle = _ffi.Handle.attach(segments.segment_name(self._instance, name), _ffi.MAP_HEAD, name)
        uid = handle.describe().uid
        if uid != os.geteuid():  # it has come under the name just now
            handle.close()
            raise UnmanageableError(f"table {name!r} belongs to {_ffi.user_text(uid)}")
        handle.lock_timeout = LOCK_SECONDS
        return handle

    @contextmanager
    def mortal(self) -> Iterator[Identity]:
        """A new process that does nothing; it ends by itself soon if this process is killed meanwhile."""
        command = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(10)"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/") as process:
            try:
                yield Identity(process.pid, _ffi.process_start(process.pid) or 0)
            finally:
                process.kill()
