# SPDX-License-Identifier: Apache-2.0
"""The door to the core: the only module that imports the compiled binding.

A `Handle` is one process's view of one segment and carries everything but rows; rows go through the codec extension,
which calls the core with the same handle's address. Calls release the GIL, so a handle may be closed in one thread
while others use it: the core counts calls in flight, close waits for them, later ones are told CLOSED. The handle's own
memory lives as long as anything here or in the codec extension refers to it.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from tablemgr._core import ffi, lib
from tablemgr.errors import AbsentKeyError, BadMatchError, Status, raise_for

OK: Final = int(Status.OK)
ABSENT: Final = int(Status.ABSENT)
NO_TABLE: Final = int(Status.NO_TABLE)
OWNED: Final = int(Status.OWNED)

SET: Final = 0
PUBLIC: Final = 0
PROTECTED: Final = 1
PRIVATE: Final = 2
HEIR_NONE: Final = 0
HEIR_MANAGER: Final = 1
HEIR_PROCESS: Final = 2
REASON_NEVER: Final = 0
REASON_GIFT: Final = 1
REASON_INHERITED: Final = 2
REASON_CLAIMED: Final = 3
REASON_KEPT: Final = 4
END_OPEN: Final = 0
END_UNKNOWN: Final = 1
END_KNOWN: Final = 2
CLAIM_ORPHAN: Final = 0
CLAIM_ORPHAN_OR_KEPT: Final = 1
CLAIM_TO_KEEP: Final = 2
MAP_WRITE: Final = 0
MAP_READ: Final = 1
MAP_AUTO: Final = 2
MAP_HEAD: Final = 3
LIFELINES_MAX: Final = 127

_CHANGE_HEIR: Final = 1
_CHANGE_ACCESS: Final = 2
_SLICE_NS: Final = 50_000_000  # waits return to Python this often, so that a signal handler can run
_RETRY_SECONDS: Final = 0.001  # after an answer of BUSY that came at once

LOCK_TIMEOUT: Final = 10.0

_EXPLAINED: Final = (
    Status.ACCESS,
    Status.NOT_OWNER,
    Status.OWNED,
    Status.FULL,
    Status.NO_TABLE,
    Status.READONLY,
)

_ABOUT_ARGUMENTS: Final = (
    TypeError,
    ValueError,
    LookupError,
    BadMatchError,
)  # exactly these: as the package raises them

# struct tmgr_api for the codec extension, as a number.
API_ADDRESS: Final = int(ffi.cast("uintptr_t", lib.tmgr_api()))

os.register_at_fork(after_in_child=lib.tmgr_after_fork)


class RawInfo(NamedTuple):
    """`struct tmgr_info` in Python's types: processes are (pid, start), names are str, data are bytes."""

    type: int
    access: int
    keypos: int
    codec: int
    mode: int
    n_stripes: int
    uid: int
    trusted: bool
    rows: int
    bytes_used: int
    bytes_reserved: int
    max_bytes: int
    owner: tuple[int, int]
    owner_alive: bool
    heir: int
    heir_process: tuple[int, int]
    heir_alive: bool
    created_ns: int
    last_repair_ns: int
    repairs: int
    retired: int
    table_id: int
    dropped: bool
    removed: bool
    poisoned: bool
    foreign_namespace: bool
    readonly: bool
    transfer_reason: int
    transfer_from: tuple[int, int]
    transfer_ns: int
    transfer_seq: int
    transfer_end: int
    transfer_exit: int
    name: str
    heir_data: bytes
    transfer_data: bytes

    @property
    def gone(self) -> bool:
        """Whether there is no such table any more: it was dropped, or its owner is dead and it had no heir."""
        return self.dropped or (self.heir == HEIR_NONE and not self.owner_alive and not self.foreign_namespace)

    @property
    def kept(self) -> bool:
        """Whether the owner is a manager that keeps the table for whoever is to have it."""
        return self.transfer_reason == REASON_KEPT


class Glance(NamedTuple):
    """`struct tmgr_glance`: whose a segment is; processes are (pid, start), of the heir (0, 0) unless it is one."""

    owner: tuple[int, int]
    heir_process: tuple[int, int]
    created_ns: int
    table_id: int
    transfer_reason: int
    transfer_from: tuple[int, int]
    transfer_seq: int
    transfer_end: int
    uid: int

    @property
    def kept(self) -> bool:
        """Whether the owner is a manager that keeps the table for whoever is to have it."""
        return self.transfer_reason == REASON_KEPT


class Ending(NamedTuple):
    """How a process, (pid, start), ended: status as in subprocess; None: it cannot be learned."""

    process: tuple[int, int]
    status: int | None


class Handle:
    """One process's view of a table's segment.

    May be used from any number of threads and in a forked child, which is another process to the table. Errors are
    raised as `errors` says, with the table's name. Waits for a lock end after `lock_timeout` seconds.
    """

    __slots__ = ("__weakref__", "_closed", "_gone", "_name", "lock_timeout", "pointer", "segment")

    def __init__(self, pointer: Any, segment: str, name: str) -> None:
        self.pointer: Final = ffi.gc(pointer, lib.tmgr_free)
        self.segment = segment
        self.lock_timeout = LOCK_TIMEOUT
        self._name = name
        self._closed = False
        self._gone = False

    @classmethod
    def create(
        cls,
        segment: str,
        name: str,
        *,
        type: int = SET,
        access: int = PROTECTED,
        keypos: int = 0,
        codec: int = 0,
        mode: int = 0o600,
        max_bytes: int = 0,
        heir: int = HEIR_NONE,
        heir_pid: int = 0,
        heir_data: bytes = b"",
        n_stripes: int = 0,
    ) -> Handle:
        """Make a table; the caller is its owner.

        max_bytes 0: what the file system holds. mode: permission bits. Raises TableExistsError, TableFullError,
        ValueError, LookupError (no such heir), OSError. Killed at any moment: the table is there, whole, or it is not.
        """
        options, _keep = _options(
            type=type,
            access=access,
            keypos=keypos,
            codec=codec,
            mode=mode,
            max_bytes=max_bytes,
            n_stripes=n_stripes,
            heir=heir,
            heir_pid=heir_pid,
            heir_data=heir_data,
        )
        encoded = name.encode()
        made = ffi.new("struct tmgr_table **")
        status = lib.tmgr_create(os.fsencode(segment), encoded, len(encoded), options, made)
        if status != OK:
            raise_for(
                status, table=name, doing="create", why=_option_trouble(status, max_bytes), errno=lib.tmgr_errno()
            )
        return cls(made[0], segment, name)

    @classmethod
    def attach(cls, segment: str, mapping: int = MAP_AUTO, name: str | None = None, doing: str = "attach") -> Handle:
        """Attach to what bears the segment's name; mapping is one of MAP_*. No side effect on the segment.

        doing: the call that is to be named where this is refused.

        Raises TableNotFoundError, CorruptTableError, AccessError, MemoryError, OSError.
        """
        made = ffi.new("struct tmgr_table **")
        status = lib.tmgr_attach(os.fsencode(segment), mapping, made)
        if status != OK:
            raise_for(status, table=segment if name is None else name, doing=doing, errno=lib.tmgr_errno())
        handle = cls(made[0], segment, segment if name is None else name)
        if name is None:
            handle._name = handle.describe().name
        return handle

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def address(self) -> int:
        """The handle as the codec extension takes it; valid while this object or its `pointer` lives."""
        return int(ffi.cast("uintptr_t", self.pointer))

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def name(self) -> str:
        """The table's name: as it is now, or the last one known if the handle is closed."""
        if not self._closed:
            name = ffi.new("char[256]")
            if lib.tmgr_name(self.pointer, name) == OK:
                self._name = ffi.string(name).decode("utf-8", "replace")
        return self._name

    def glance(self) -> tuple[int, Glance]:
        """`glance` at what is attached, whatever its segment is called by now."""
        seen = ffi.new("struct tmgr_glance *")
        return lib.tmgr_glance_of(self.pointer, seen), _glance(seen)

    def describe(self, doing: str = "info") -> RawInfo:
        """Everything known of the table without walking it; works on private, dropped and poisoned tables too.

        doing: the call that is to be named where this is refused.
        """
        info = ffi.new("struct tmgr_info *")
        self._check(lib.tmgr_describe(self.pointer, info), doing)
        return RawInfo(
            type=info.type,
            access=info.access,
            keypos=info.keypos,
            codec=info.codec,
            mode=info.mode,
            n_stripes=info.n_stripes,
            uid=info.uid,
            trusted=bool(info.trusted),
            rows=info.rows,
            bytes_used=info.bytes_used,
            bytes_reserved=info.bytes_reserved,
            max_bytes=info.max_bytes,
            owner=(info.owner.pid, info.owner.start),
            owner_alive=bool(info.owner_alive),
            heir=info.heir,
            heir_process=(info.heir_process.pid, info.heir_process.start),
            heir_alive=bool(info.heir_alive),
            created_ns=info.created_ns,
            last_repair_ns=info.last_repair_ns,
            repairs=info.repairs,
            retired=info.retired,
            table_id=info.table_id,
            dropped=bool(info.dropped),
            removed=bool(info.removed),
            poisoned=bool(info.poisoned),
            foreign_namespace=bool(info.foreign_namespace),
            readonly=bool(info.readonly),
            transfer_reason=info.transfer_reason,
            transfer_from=(info.transfer_from.pid, info.transfer_from.start),
            transfer_ns=info.transfer_ns,
            transfer_seq=info.transfer_seq,
            transfer_end=info.transfer_end,
            transfer_exit=info.transfer_exit,
            name=_text(info),
            heir_data=bytes(ffi.buffer(info.heir_data, min(info.heir_data_len, 896))),
            transfer_data=bytes(ffi.buffer(info.transfer_data, min(info.transfer_data_len, 896))),
        )

    def len(self) -> int:
        """The number of rows, exact, never between the two sides of a multi-row write."""
        rows = ffi.new("uint64_t *")
        self._check(self._patiently(lambda _: lib.tmgr_len(self.pointer, rows)), "len")
        return int(rows[0])

    def admits(self, write: bool) -> int:
        """The status that a call which reads (write: or writes) would get before its arguments are looked at."""
        return lib.tmgr_admit(self.pointer, write)

    # -- ownership ------------------------------------------------------------------------------------------------

    def claim(self, what: int = CLAIM_ORPHAN, ending: Ending | None = None) -> None:
        """Become the owner of an orphan, of many claimants as the only one. Raises TableOwnedError. One atomic step.

        what: CLAIM_ORPHAN, CLAIM_ORPHAN_OR_KEPT (also from a live manager that keeps the table), or CLAIM_TO_KEEP (as
        the manager, for whoever comes for it). ending: of the owner before, put down in the same step.
        """
        told = _ending(ending)
        self._check(self._patiently(lambda wait: lib.tmgr_claim(self.pointer, what, told, wait)), "claim")

    def settle(self, ending: Ending | None = None) -> int:
        """Carry out what the heir says if the owner is dead. ending: of that owner, put down in the same step.

        OK: handed to the live heir process, NO_TABLE: had no heir and is gone now, OWNED: its owner is alive,
        ABSENT: it is an orphan. Raises AccessError, LockTimeoutError, CorruptTableError, OSError.
        """
        told = _ending(ending)
        status = self._patiently(lambda wait: lib.tmgr_settle(self.pointer, told, wait))
        if status not in (OK, NO_TABLE, OWNED, ABSENT):
            self._check(status, "settle")
        return status

    def give_away(self, pid: int, data: bytes) -> None:
        """Make a live process the owner, with an encoded message. Raises NotOwnerError, LookupError, ValueError."""
        self._check(
            self._patiently(lambda wait: lib.tmgr_give_away(self.pointer, pid, data, len(data), wait)), "give_away"
        )

    def pass_on(self, pid: int, kept: bool = False) -> None:
        """Hand a table that this manager keeps to a process, as inherited from the owner before; one atomic step.

        kept: the receiver keeps it for others, too. Raises NotOwnerError, also if it is not kept, and LookupError.
        """
        self._check(self._patiently(lambda wait: lib.tmgr_pass_on(self.pointer, pid, kept, wait)), "pass on")

    def note_end(self, ending: Ending) -> bool:
        """Put down how the previous owner ended, for whoever has the table by its death; one atomic step.

        False if that is said already, or of another owner.
        """
        told = _ending(ending)
        answer = self._patiently(lambda wait: lib.tmgr_note_end(self.pointer, told, wait))
        if answer != ABSENT:
            self._check(answer, "note the end of its owner")
        return answer == OK

    def setopts(
        self,
        heir: int | None = None,
        heir_pid: int = 0,
        heir_data: bytes = b"",
        access: int | None = None,
    ) -> None:
        """Change heir (with its data) or access, in one step. Raises NotOwnerError, LookupError, ValueError."""
        what = (_CHANGE_HEIR if heir is not None else 0) | (_CHANGE_ACCESS if access is not None else 0)
        options, _keep = _options(heir=heir or 0, heir_pid=heir_pid, heir_data=heir_data, access=access or 0)
        self._check(self._patiently(lambda wait: lib.tmgr_setopts(self.pointer, what, options, wait)), "setopts")

    # -- the end, the name, the state -----------------------------------------------------------------------------

    def drop(self, force: bool = False) -> None:
        """Remove the table for everybody. Raises TableNotFoundError if it is gone already, AccessError unless force."""
        self._check(self._patiently(lambda _: lib.tmgr_drop(self.pointer, force)), "drop")

    def rename(self, segment: str, name: str) -> None:
        """Give the table another name. Raises TableExistsError, AccessError. One atomic step."""
        encoded = name.encode()
        status = self._patiently(lambda _: lib.tmgr_rename(self.pointer, os.fsencode(segment), encoded, len(encoded)))
        if status == Status.TABLE_EXISTS:
            raise_for(status, table=name, doing="rename", why=f", so {self.name!r} keeps its name")
        self._check(status, "rename")
        self.segment, self._name = segment, name

    def relink(self) -> None:
        """Link a removed table back to its name. Raises TableExistsError, TableNotFoundError, AccessError, OSError."""
        self._check(self._patiently(lambda wait: lib.tmgr_relink(self.pointer, wait)), "relink")

    def check(self, repair: bool) -> list[str]:
        """Walk everything; one sentence per broken invariant. repair: bring every stripe into order first."""
        problems: list[str] = []
        context = ffi.new_handle(problems)

        def walk(wait: int) -> int:
            problems.clear()
            return lib.tmgr_check(self.pointer, repair, lib.tablemgr_problem, context, wait)

        status = self._patiently(walk)
        if status != Status.CORRUPT or not problems:
            self._check(status, "check")
        return problems

    def close(self) -> None:
        """End the use of the handle: waits for calls in flight, unmaps. Later calls raise TableClosedError."""
        if not self._closed:
            self._name = self.name
            self._closed = True
            lib.tmgr_close(self.pointer)

    def close_dropped(self) -> None:
        """Give the memory of a dropped table back; later calls raise TableNotFoundError all the same."""
        self._gone = True
        self.close()

    # -- errors ---------------------------------------------------------------------------------------------------

    def fail(self, status: int, verb: str, detail: object = None) -> NoReturn:
        """Raise what a status means for this table, with what the segment says about it; the codec's way out too.

        detail: the key for ABSENT (args[0] of the KeyError), else words to put into the message, or None.
        For OK, where only the arguments are wrong, the TypeError or ValueError about them; it gets the table's name.
        """
        if status == Status.ABSENT:
            raise AbsentKeyError(detail, verb, self.name)
        if status == OK:
            assert isinstance(detail, Exception)
            self.blame(verb, detail)
        if status == Status.CLOSED and self._gone:
            status = int(Status.NO_TABLE)
        errno = lib.tmgr_errno()
        why = "" if detail is None else f" ({detail})"
        raise_for(status, table=self.name, doing=verb, why=why + self._explain(status), errno=errno)

    def blame(self, verb: str, error: Exception) -> NoReturn:
        """Raise what is wrong with a verb's arguments, with the table's name in it; other exceptions as they are."""
        if type(error) not in _ABOUT_ARGUMENTS:
            raise error
        text = f"{verb}: table {self.name!r}: {str(error).removeprefix(f'{verb}: ')}"
        raise type(error)(text).with_traceback(error.__traceback__) from error.__cause__

    def _check(self, status: int, verb: str) -> None:
        if status != OK:
            self.fail(status, verb)

    def _explain(self, status: int) -> str:
        """What the segment adds to a refusal. If it turns out that the owner is dead, its heir gets the table now."""
        if status not in _EXPLAINED:
            return ""
        info = ffi.new("struct tmgr_info *")
        if lib.tmgr_describe(self.pointer, info) != OK:
            return " any more" if status == Status.NO_TABLE else ""
        if status == Status.NO_TABLE:
            return f" any more: {_where_it_went(info)}"
        if status == Status.FULL:
            return (
                f": its segment has {info.bytes_reserved} bytes and may have {info.max_bytes} (max_bytes, or what "
                "/dev/shm could hold at its creation), and cannot get what this takes"
            )
        if status == Status.READONLY:
            return "" if info.trusted else f", because it belongs to {user_text(info.uid)}, who is not trusted for that"
        owner = info.owner.pid
        if info.owner_alive and info.transfer_reason == REASON_KEPT:
            who = f"kept by the manager, process {owner}, since its owner ended: new_table() takes the table over"
        elif info.owner_alive:
            who = f"owned by process {owner}, which is alive"
        else:
            if not info.foreign_namespace:
                lib.tmgr_settle(self.pointer, ffi.NULL, 0)
            who = f"the owner, process {owner}, is dead: " + (
                "new_table() takes the table over" if info.trusted else f"it belongs to {user_text(info.uid)}"
            )
        if status == Status.ACCESS:
            return f": it is {('public', 'protected', 'private')[min(info.access, 2)]} and {who}"
        return f": it is {who}" if info.owner_alive else f": {who}"

    def _patiently(self, call: Callable[[int], int]) -> int:
        """The call's status, repeated while it is BUSY, in slices between which signal handlers run."""
        deadline = time.monotonic() + self.lock_timeout
        wait = 0
        while True:
            started = time.monotonic()
            status = call(wait)
            now = time.monotonic()
            if status != Status.BUSY or now >= deadline:
                return status
            if now - started < _RETRY_SECONDS and wait:
                time.sleep(_RETRY_SECONDS)
            wait = min(_SLICE_NS, max(1, int((deadline - now) * 1e9)))


def glance(segment: str) -> tuple[int, Glance]:
    """Whose a segment is, in a few microseconds.

    The status is OK, NO_TABLE, Status.LAYOUT (it is no table), CORRUPT, NAMESPACE (its processes mean nothing here),
    BUSY or OS (then errno says why); of the glance only uid is set unless it is OK or NAMESPACE, and with OS nothing.
    """
    seen = ffi.new("struct tmgr_glance *")
    return lib.tmgr_glance(os.fsencode(segment), seen), _glance(seen)


def _glance(seen: Any) -> Glance:
    return Glance(
        (seen.owner.pid, seen.owner.start),
        (seen.heir_process.pid, seen.heir_process.start),
        seen.created_ns,
        seen.table_id,
        seen.transfer_reason,
        (seen.transfer_from.pid, seen.transfer_from.start),
        seen.transfer_seq,
        seen.transfer_end,
        seen.uid,
    )


def self_process() -> tuple[int, int]:
    """(pid, start) of this process; start in clock ticks since boot."""
    process = ffi.new("struct tmgr_process *")
    status = lib.tmgr_self(process)
    if status != OK:
        raise_for(status, table="", doing="identify this process", errno=lib.tmgr_errno())
    return process.pid, process.start


def process_alive(pid: int, start: int) -> bool:
    """Whether this very process is alive; another one that has its pid by now is not."""
    return bool(lib.tmgr_alive(ffi.new("struct tmgr_process *", {"pid": pid, "start": start})))


def process_end(pid: int, start: int) -> int | None:
    """What waitpid would say of a dead process, while nobody has waited for it; None if it lives or is not told."""
    status = ffi.new("int *")
    is_told = lib.tmgr_end(ffi.new("struct tmgr_process *", {"pid": pid, "start": start}), status)
    return int(status[0]) if is_told else None


def process_start(pid: int) -> int | None:
    """When the process of this pid started, in clock ticks since boot; None if there is none or it is dead."""
    process = ffi.new("struct tmgr_process *", {"pid": pid, "start": 0})
    return int(process.start) if lib.tmgr_alive(process) else None


def lifeline() -> int:
    """The descriptor of this process's lifeline, to be shown to a manager; it stays the core's.

    The calling thread holds the line's lock from the first call on. Raises OSError where there can be none.
    """
    descriptor = ffi.new("int *")
    status = lib.tmgr_lifeline(descriptor)
    if status != OK:
        raise OSError(lib.tmgr_errno(), "cannot make a lifeline")
    return int(descriptor[0])


class Lifeline:
    """The lifeline of another process, from the descriptor that it has shown."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError, also if it is none."""
        pointer = ffi.new("uint8_t **")
        status = lib.tmgr_lifeline_map(descriptor, pointer)
        if status != OK:
            raise OSError(lib.tmgr_errno(), "cannot map a lifeline")
        self.pointer = pointer[0]

    def unmap(self) -> None:
        """End its use; not while anybody sleeps on it."""
        lib.tmgr_lifeline_unmap(self.pointer)


class Alarm:
    """What wakes up one who sleeps on lifelines. Thread-safe."""

    def __init__(self) -> None:
        self._word = ffi.new("uint32_t *")

    def ring(self) -> None:
        """Wake up who sleeps, or is about to without having heard this one."""
        lib.tmgr_alarm(self._word)

    def heard(self) -> int:
        """To be asked for before looking at what the alarm may be about."""
        return int(self._word[0])

    def sleep(self, lines: Sequence[Lifeline], heard: int) -> int | None:
        """Until the holder of one of at most LIFELINES_MAX lines has ended: its number; None: rung, or for no reason.

        Raises OSError where the kernel has no way to do so (before Linux 5.16).
        """
        ended = ffi.new("size_t *")
        pointers = ffi.new("uint8_t *[]", [line.pointer for line in lines])
        status = lib.tmgr_lifelines_wait(pointers, len(lines), self._word, heard, ended)
        if status != OK:
            raise OSError(lib.tmgr_errno(), "cannot sleep on lifelines")
        return int(ended[0]) if ended[0] < len(lines) else None


def user_text(uid: int) -> str:
    """A user for a message: the name, if the system knows one, and the number."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def core_statuses() -> dict[str, int]:
    """The core's own names and numbers of its statuses, without their prefix."""
    names = ffi.typeof("enum tmgr_status").relements
    return {name.removeprefix("TMGR_"): number for name, number in names.items()}


def _where_it_went(info: Any) -> str:
    """Why a handle has no table."""
    if info.unmounted:
        return "another file system is mounted at /dev/shm now, where its name does not lead to it"
    if info.removed:
        return (
            "its segment was removed from /dev/shm, and not by a drop (by rm, or by RemoveIPC= of systemd); relink() "
            "gives it its name back while handles like this one are left"
        )
    if info.moved:
        return "it was removed, linked back, and renamed or removed again: tables() has its name, attach() a new handle"
    return "it was dropped, or went with its owner"


def _text(info: Any) -> str:
    return bytes(ffi.buffer(info.name, min(info.name_len, 255))).decode("utf-8", "replace")


def _options(*, heir_data: bytes, **fields: int) -> tuple[Any, Any]:
    """struct tmgr_options, and the object that keeps what it points to alive."""
    keep = ffi.new("char[]", heir_data)
    options = ffi.new("struct tmgr_options *", {**fields, "heir_data": keep, "heir_data_len": len(heir_data)})
    return options, keep


def _ending(ending: Ending | None) -> Any:
    """struct tmgr_ending, or NULL."""
    if ending is None:
        return ffi.NULL
    (pid, start), status = ending
    end = END_UNKNOWN if status is None else END_KNOWN
    return ffi.new("struct tmgr_ending *", {"process": {"pid": pid, "start": start}, "end": end, "exit": status or 0})


def _option_trouble(status: int, max_bytes: int) -> str:
    if status == Status.BAD_OPTION and max_bytes:
        return f": max_bytes is {max_bytes}, which is too small for an empty table or more than can be mapped"
    if status == Status.FULL:
        return ": /dev/shm or the memory limit has none for an empty one"
    return ""


@ffi.def_extern()
def tablemgr_problem(context: Any, problem: Any) -> None:
    """Called by tmgr_check for each broken invariant."""
    ffi.from_handle(context).append(ffi.string(problem).decode("utf-8", "replace"))
