# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, and how it is said: the exceptions, and the statuses of the core that they stand for.

Every exception of the package derives from `TableError` and, where a user would naturally catch one, from a builtin.
Python's own are raised where they fit: KeyError, IndexError, TypeError, ValueError, LookupError, OSError.
A message says what happened to which table and what to do about it; a call that raises has changed nothing.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import NoReturn


class Status(IntEnum):
    """The answers of the core, `enum tmgr_status` of csrc/tablemgr.h; a test holds the two together."""

    OK = 0
    ABSENT = 1
    PRESENT = 2
    END = 3
    BUSY = 4
    NO_TABLE = 5
    TABLE_EXISTS = 6
    OWNED = 7
    NOT_OWNER = 8
    ACCESS = 9
    READONLY = 10
    NAMESPACE = 11
    CLOSED = 12
    FULL = 13
    TOO_LONG = 14
    BAD_ROW = 15
    SHORT_ROW = 16
    BAD_POSITION = 17
    KEY_POSITION = 18
    NOT_INTEGER = 19
    KEY_DIFFERS = 20
    BAD_OPTION = 21
    NO_PROCESS = 22
    SELF = 23
    OPERATION = 24
    LAYOUT = 25
    CORRUPT = 26
    NO_MEMORY = 27
    OS = 28


class TableError(Exception):
    """The root of the package's exceptions. Never raised itself."""


class TableNotFoundError(TableError, LookupError):
    """There is no table of this name, or the table behind the handle was dropped."""


class TableExistsError(TableError, FileExistsError):
    """A table of this name exists already."""


class TableOwnedError(TableError, PermissionError):
    """Another live process owns the table; the message says which."""


class NotOwnerError(TableError, PermissionError):
    """Only the owner of the table may do this."""


class AccessError(TableError, PermissionError):
    """The table's access, its segment's mode, a read-only handle or another pid namespace forbids this."""


class TableMismatchError(TableError, ValueError):
    """The table exists with another type, key position or codec than was asked for."""


class TableFullError(TableError, MemoryError):
    """max_bytes, /dev/shm or the memory limit leaves no room for the row."""


class TableClosedError(TableError, ValueError):
    """The handle was closed."""


class CorruptTableError(TableError, ValueError):
    """The segment or file is damaged, or is no table of this version's layout."""


class LockTimeoutError(TableError, TimeoutError):
    """A live process held a lock for longer than lock_timeout; it is probably stopped."""


class ManagerUnavailableError(TableError, ConnectionError):
    """No manager serves the instance, or it does not answer."""


class ManagerRunningError(TableError, FileExistsError):
    """The instance has a manager already."""


class BadMatchError(TableError, ValueError):
    """A malformed pattern, clause or continuation."""


class TableTypeError(TableError, TypeError):
    """The operation does not exist for this type of table."""


class AbsentKeyError(KeyError):
    """A KeyError, with the key as its argument, whose text names the table. Users know it as KeyError."""

    def __init__(self, key: object, doing: str = "", table: str = "") -> None:
        super().__init__(key)
        self.doing = doing
        self.table = table

    def __str__(self) -> str:
        try:
            key = repr(self.args[0])
        except ValueError:  # an int of more digits than Python writes
            key = "of many digits"
        key = key if len(key) <= 100 else f"{key[:97]}..."
        return f"{self.doing}: table {self.table!r} has no row with the key {key}; insert one, or give a default"


# What each status is as an exception, and how it is told: {table} is the quoted name, {doing} the verb, {why} what the
# caller knows besides, or nothing. A status that answers a question is here too, for calls where it is no answer.
_MEANINGS: dict[Status, tuple[type[Exception], str]] = {
    Status.ABSENT: (KeyError, "{doing}: table {table} has no row with this key{why}; a default makes one"),
    Status.PRESENT: (RuntimeError, "{doing}: table {table} has a row with this key{why}"),
    Status.END: (RuntimeError, "{doing}: table {table} has no further row{why}"),
    Status.BUSY: (
        LockTimeoutError,
        "{doing}: table {table} stayed locked for longer than lock_timeout{why}; nothing was changed. The process that "
        "holds the lock is alive but does not run: continue it (SIGCONT) or end it, and call again",
    ),
    Status.NO_TABLE: (
        TableNotFoundError,
        "{doing}: there is no table {table}{why}; tables() lists what there is, create() or new_table() makes one",
    ),
    Status.TABLE_EXISTS: (
        TableExistsError,
        "{doing}: a table {table} exists already{why}; attach() to it, or drop() it first",
    ),
    Status.OWNED: (
        TableOwnedError,
        "{doing}: table {table} has a live owner{why}; attach() works with it, new_table(..., wait=seconds) takes over "
        "when that process ends",
    ),
    Status.NOT_OWNER: (NotOwnerError, "{doing}: only the owner of table {table} may do this{why}"),
    Status.ACCESS: (AccessError, "{doing}: table {table} does not admit this process{why}"),
    Status.READONLY: (
        AccessError,
        "{doing}: table {table} is attached for reading only{why}; attach(..., readonly=False) asks for more, and the "
        "mode of its segment must allow that",
    ),
    Status.NAMESPACE: (
        AccessError,
        "{doing}: table {table} belongs to another pid or time namespace{why}: from here it can only be read, because "
        "the processes that write it cannot be told dead from alive",
    ),
    Status.CLOSED: (TableClosedError, "{doing}: this handle of table {table} is closed{why}; attach() gives a new one"),
    Status.FULL: (
        TableFullError,
        "{doing}: no room in table {table}{why}; delete rows or tables, raise max_bytes, or enlarge /dev/shm or the "
        "memory limit",
    ),
    Status.TOO_LONG: (
        ValueError,
        "{doing}: too long for table {table}{why}: a key has at most 64 KiB, a row 1 GiB, data for an heir 896 bytes, "
        "a name 255 bytes, each in encoded form",
    ),
    Status.BAD_ROW: (ValueError, "{doing}: not a well-formed row for table {table}{why}"),
    Status.SHORT_ROW: (ValueError, "{doing}: a row is too short for the key position of table {table}{why}"),
    Status.BAD_POSITION: (IndexError, "{doing}: position outside the row in table {table}{why}"),
    Status.KEY_POSITION: (
        ValueError,
        "{doing}: the key of a row in table {table} cannot be changed{why}; delete the row and insert another",
    ),
    Status.NOT_INTEGER: (TypeError, "{doing}: the element to count on in table {table} is not an int{why}"),
    Status.KEY_DIFFERS: (ValueError, "{doing}: the two rows for table {table} have different keys{why}"),
    Status.BAD_OPTION: (ValueError, "{doing}: an option for table {table} is out of its range{why}"),
    Status.NO_PROCESS: (
        LookupError,
        "{doing}: there is no live process to name for table {table}{why}; start it first",
    ),
    Status.SELF: (ValueError, "{doing}: this process is the owner of table {table} already{why}"),
    Status.OPERATION: (
        TableTypeError,
        "{doing}: table {table} is of a type that has no such operation{why}: ranges and reverse order are for an "
        "ordered_set; update_counter, update_element and compare_and_swap are not for bags, select_replace not for "
        "type 'bag'",
    ),
    Status.LAYOUT: (
        CorruptTableError,
        "{doing}: the segment of table {table} is not a table of this version's layout{why}; use the version that made "
        "it, or remove it with drop(..., force=True)",
    ),
    Status.CORRUPT: (
        CorruptTableError,
        "{doing}: table {table} is damaged and refused{why}; check() says where, drop(..., force=True) removes it",
    ),
    Status.NO_MEMORY: (
        MemoryError,
        "{doing}: this process has no memory or address space left for table {table}{why}",
    ),
    Status.OS: (OSError, "{doing}: the system refused a call for table {table}{why}"),
}


def raise_for(status: int, *, table: str, doing: str, why: str = "", errno: int = 0) -> NoReturn:
    """Raise what a status of the core means.

    Args:
        status: a `Status` other than OK.
        table: the table's name as the user knows it.
        doing: the verb that was refused, or several words that name the attempt.
        why: what the caller knows besides; it follows the first part of the message after a blank or punctuation.
        errno: with Status.OS, the system's reason; EACCES and EPERM become AccessError.
    """
    kind, text = _MEANINGS[Status(status)]
    message = text.format(table=repr(table), doing=doing, why=why)
    if status == Status.OS:
        reason = f"{message}: {os.strerror(errno)}"
        if isinstance(OSError(errno, reason), PermissionError):
            raise AccessError(f"{reason}; the mode of the segment says who may use it")
        raise OSError(errno, reason)
    raise kind(message)
