# SPDX-License-Identifier: Apache-2.0
"""The world that the manager's estate acts in: `Outside` is what is asked of it, `SharedMemory` the real one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from tablemgr import _ffi, mailbox, segment_names
from tablemgr._ffi import Ending
from tablemgr.errors import Status
from tablemgr.manager.decisions import Identity

LOCK_SECONDS: Final = 0.1  # who holds a control lock for longer is stopped; the next round tries again
_FRESH_SECONDS: Final = 0.1  # a directory changed so shortly before may have been changed again since, at the same time


class UnmanageableError(Exception):
    """The table is there, but the manager cannot act on it; the message says why.

    busy: for the moment; foreign: it is another user's, which is nothing to speak of.
    """

    def __init__(self, message: str, busy: bool = False, foreign: bool = False) -> None:
        super().__init__(message)
        self.busy = busy
        self.foreign = foreign


class Seen(Protocol):
    """What the estate reads of `_ffi.Glance`."""

    @property
    def owner(self) -> tuple[int, int]:
        """pid and start of the owner."""

    @property
    def table_id(self) -> int:
        """Tells the table from another that bore the same name."""

    @property
    def created_ns(self) -> int:
        """Nanoseconds since the epoch."""

    @property
    def kept(self) -> bool:
        """The owner is a manager that inherited the table for others."""

    @property
    def transfer_reason(self) -> int:
        """How the owner got it."""

    @property
    def transfer_from(self) -> tuple[int, int]:
        """pid and start of the owner before."""

    @property
    def transfer_seq(self) -> int:
        """The number of the transfer."""

    @property
    def transfer_end(self) -> int:
        """Whether it is said how the owner before ended."""


class TableHandle(Protocol):
    """What the estate asks of `_ffi.Handle`."""

    def claim(self, what: int, ending: Ending | None) -> None:
        """Carry out what the heir says if the owner is dead, become the owner of an orphan; put down how it ended."""

    def pass_on(self, receiver: Identity, kept: bool) -> None:
        """Make another process the owner of a table that is kept; kept: it keeps it, too."""

    def note_end(self, ending: Ending) -> bool:
        """Put down how the owner before ended."""

    def close(self) -> None:
        """End the use of the handle."""


class Outside(Protocol):
    """The world the estate acts in."""

    @property
    def me(self) -> Identity:
        """The manager's process."""

    def names(self) -> set[str]:
        """Every table name of the instance; the very same set as the last time only where nothing has changed."""

    def glance(self, name: str) -> Seen | None:
        """Whose the table is; None if there is none. Raises UnmanageableError where that means nothing here."""

    def glance_of(self, name: str, handle: TableHandle) -> Seen | None:
        """The same of what is attached."""

    def alive(self, process: Identity) -> bool:
        """Whether this very process is alive."""

    def attach(self, name: str) -> tuple[TableHandle, Seen]:
        """A handle on the head of what bears the name now, and what that is. Raises TableError, OSError."""

    def part_with(self, handle: TableHandle, receiver: Identity) -> None:
        """To be called before the manager gives a table away."""

    def mortal(self) -> AbstractContextManager[Identity]:
        """A process that is dead when the block ends."""


def _usable(name: str, status: int, seen: _ffi.Glance) -> _ffi.Glance | None:
    """What a glance means to a manager; None if there is no table."""
    if status == _ffi.NO_TABLE:
        return None
    if seen.uid != os.geteuid():
        raise UnmanageableError(
            f"table {name!r} belongs to {_ffi.user_text(seen.uid)}: only a manager of that user serves it", foreign=True
        )
    if status == Status.NAMESPACE:
        raise UnmanageableError(f"table {name!r} belongs to another pid or time namespace than the manager's")
    if status == Status.BUSY:
        raise UnmanageableError(f"the owner of table {name!r} changes all the time", busy=True)
    if status == Status.CORRUPT:
        raise UnmanageableError(f"the manager cannot use table {name!r}: it is damaged")
    if status != _ffi.OK:
        raise UnmanageableError(f"the manager cannot use table {name!r}: it is no table of this version's layout")
    return seen


class SharedMemory:
    """The real outside: the segments of one instance in /dev/shm, as far as they belong to this user."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._me = Identity(*_ffi.self_process())
        self._entries: dict[str, str] = {}  # of the directory, with the name of the table
        self._segments: dict[str, str] = {}  # and their names, the other way round
        self._names: set[str] = set()
        self._changed = 0  # when the directory was, at the last listing

    @property
    def me(self) -> Identity:
        """This process."""
        return self._me

    def names(self) -> set[str]:
        """All of them, as of now; the directory is read only when it has changed."""
        changed = os.stat(segment_names.SHM).st_mtime_ns
        if changed != self._changed:
            self._entries = segment_names.names_of_entries(self._instance, self._entries)
            self._segments = {name: f"/{entry}" for entry, name in self._entries.items()}
            self._names = set(self._segments)
            is_settled = time.time_ns() - changed > _FRESH_SECONDS * 1e9
            self._changed = changed if is_settled else 0
        return self._names

    def glance(self, name: str) -> _ffi.Glance | None:
        """Whose the table is. Raises UnmanageableError for other users' and namespaces', and what is no table."""
        segment = self._segments.get(name) or segment_names.segment_name(self._instance, name)
        status, seen = _ffi.glance(segment)
        if status == Status.OS:
            try:
                uid = os.stat(f"{segment_names.SHM}{segment}", follow_symlinks=False).st_uid
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return None
                raise
            seen = seen._replace(uid=uid)
        return _usable(name, status, seen)

    def glance_of(self, name: str, handle: TableHandle) -> _ffi.Glance | None:
        """The same of what is attached."""
        assert isinstance(handle, _ffi.Handle)
        return _usable(name, *handle.glance())

    def alive(self, process: Identity) -> bool:
        """Asks the kernel."""
        return _ffi.process_alive(*process)

    def attach(self, name: str) -> tuple[TableHandle, Seen]:
        """A handle with the head mapped."""
        handle = _ffi.Handle.attach(segment_names.segment_name(self._instance, name), _ffi.MAP_HEAD, name)
        handle.lock_timeout = LOCK_SECONDS
        try:
            seen = self.glance_of(name, handle)  # what has come under the name just now may be another user's
            if seen is None:
                handle.fail(Status.NO_TABLE, "attach")
        except BaseException:
            handle.close()
            raise
        return handle, seen

    def part_with(self, handle: TableHandle, receiver: Identity) -> None:
        """Where this process is more than a manager, it wants to be told of the deaths of its clients.

        What it gets itself is told after the transfer.
        """
        assert isinstance(handle, _ffi.Handle)
        if receiver.pid != os.getpid():
            mailbox.put_aside_if_any(self._instance, handle)

    @contextmanager
    def mortal(self) -> Iterator[Identity]:
        """A new process that does nothing; it ends by itself soon if this process is killed meanwhile."""
        command = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(10)"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/") as process:
            try:
                yield Identity(process.pid, _ffi.process_start(process.pid) or 0)
            finally:
                process.kill()
