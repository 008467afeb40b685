# SPDX-License-Identifier: Apache-2.0
"""One process's view of one segment: `Handle`.

It carries everything but rows; rows go through the codec extension, which calls the core with the same handle's
address. Calls release the GIL, so a handle may be closed in one thread while others use it: the core counts calls in
flight, close waits for them, later ones are told CLOSED. The handle's own memory lives as long as anything here or in
the codec extension refers to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from tablemgr._core import ffi, lib
from tablemgr._ffi.facts import (
    ABSENT,
    CLAIM_OFFERED,
    CLAIM_ORPHAN,
    HEIR_NONE,
    MAP_AUTO,
    NO_TABLE,
    OK,
    OWNED,
    PROTECTED,
    SET,
    Ending,
    Glance,
    RawInfo,
    ending_pointer,
    glance_from,
    raw_info,
)
from tablemgr._ffi.refusals import explain, option_trouble
from tablemgr.errors import AbsentKeyError, BadMatchError, Status, raise_for

_CHANGE_HEIR: Final = 1
_CHANGE_ACCESS: Final = 2
_CHANGE_HEIR_DATA: Final = 4
_SLICE_NS: Final = 50_000_000  # waits return to Python this often, so that a signal handler can run
_RETRY_SECONDS: Final = 0.001  # after an answer of BUSY that came at once

LOCK_TIMEOUT: Final = 10.0

_ABOUT_ARGUMENTS: Final = (
    TypeError,
    ValueError,
    LookupError,
    BadMatchError,
)  # exactly these: as the package raises them

# struct tmgr_api for the codec extension, as a number.
API_ADDRESS: Final = int(ffi.cast("uintptr_t", lib.tmgr_api()))

os.register_at_fork(after_in_child=lib.tmgr_after_fork)


class Handle:
    """One process's view of a table's segment.

    May be used from any number of threads and in a forked child, which is another process to the table. Errors are
    raised as `errors` says, with the table's name. Waits for a lock end after `lock_timeout` seconds.
    """

    __slots__ = ("__weakref__", "_closed", "_gone", "_name", "lock_timeout", "memory", "pointer", "segment")

    def __init__(self, made: Any, segment: str, name: str) -> None:
        """made: a `_place`, in which the core has put the handle."""
        self.memory: Final = made
        self.pointer: Final = made[0]
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
        heir_process: tuple[int, int] = (0, 0),
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
            heir_process=heir_process,
            heir_data=heir_data,
        )
        encoded = name.encode()
        made = _place()
        status = lib.tmgr_create(os.fsencode(segment), encoded, len(encoded), options, made)
        if status != OK:
            raise_for(status, table=name, doing="create", why=option_trouble(status, max_bytes), errno=lib.tmgr_errno())
        return cls(made, segment, name)

    @classmethod
    def attach(cls, segment: str, mapping: int = MAP_AUTO, name: str | None = None, doing: str = "attach") -> Handle:
        """Attach to what bears the segment's name; mapping is one of MAP_*. No side effect on the segment.

        doing: the call that is to be named where this is refused.

        Raises TableNotFoundError, CorruptTableError, AccessError, MemoryError, OSError.
        """
        made = _place()
        status = lib.tmgr_attach(os.fsencode(segment), mapping, made)
        if status != OK:
            raise_for(status, table=segment if name is None else name, doing=doing, errno=lib.tmgr_errno())
        handle = cls(made, segment, segment if name is None else name)
        if name is None:
            handle._name = handle.describe().name
        return handle

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def address(self) -> int:
        """The handle as the codec extension takes it; valid while this object or its `memory` lives."""
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
        return lib.tmgr_glance_of(self.pointer, seen), glance_from(seen)

    def describe(self, doing: str = "info") -> RawInfo:
        """Everything known of the table without walking it; works on private, dropped and poisoned tables too.

        doing: the call that is to be named where this is refused.
        """
        info = ffi.new("struct tmgr_info *")
        self._check(lib.tmgr_describe(self.pointer, info), doing)
        return raw_info(info)

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

        what: CLAIM_ORPHAN, CLAIM_ORPHAN_OR_KEPT (also from a live manager that keeps the table), CLAIM_TO_KEEP (as the
        manager, for whoever is to have it), or CLAIM_TO_OFFER (likewise, for whoever comes first). ending: of the owner
        before, put down in the same step.
        """
        told = ending_pointer(ending)
        self._check(self._patiently(lambda wait: lib.tmgr_claim(self.pointer, what, told, wait)), "claim")

    def take_offered(self) -> bool:
        """Become the owner of a table that a manager offers, as if handed over by it: whether that was so.

        One atomic step, which is tried once: False also where another process is changing the owner.
        """
        return lib.tmgr_claim(self.pointer, CLAIM_OFFERED, ffi.NULL, 0) == OK

    def settle(self, ending: Ending | None = None) -> int:
        """Carry out what the heir says if the owner is dead. ending: of that owner, put down in the same step.

        OK: handed to the live heir process, NO_TABLE: had no heir and is gone now, OWNED: its owner is alive,
        ABSENT: it is an orphan. Raises AccessError, LockTimeoutError, CorruptTableError, OSError.
        """
        told = ending_pointer(ending)
        status = self._patiently(lambda wait: lib.tmgr_settle(self.pointer, told, wait))
        if status not in (OK, NO_TABLE, OWNED, ABSENT):
            self._check(status, "settle")
        return status

    def give_away(self, receiver: tuple[int, int], data: bytes) -> None:
        """Make a live process the owner, with an encoded message. Raises NotOwnerError, LookupError, ValueError.

        receiver: pid and start, here and below; start 0: whoever has the pid now.
        """
        self._check(
            self._patiently(
                lambda wait: lib.tmgr_give_away(
                    self.pointer, ffi.new("struct tmgr_process *", receiver), data, len(data), wait
                )
            ),
            "give_away",
        )

    def pass_on(self, receiver: tuple[int, int], kept: bool = False) -> None:
        """Hand a table that this manager keeps to a process, as inherited from the owner before; one atomic step.

        kept: the receiver keeps it for others, too. Raises NotOwnerError, also if it is not kept, and LookupError.
        """
        self._check(
            self._patiently(
                lambda wait: lib.tmgr_pass_on(self.pointer, ffi.new("struct tmgr_process *", receiver), kept, wait)
            ),
            "pass on",
        )

    def note_end(self, ending: Ending) -> bool:
        """Put down how the previous owner ended, for whoever has the table by its death; one atomic step.

        False if that is said already, or of another owner.
        """
        told = ending_pointer(ending)
        answer = self._patiently(lambda wait: lib.tmgr_note_end(self.pointer, told, wait))
        if answer != ABSENT:
            self._check(answer, "note the end of its owner")
        return answer == OK

    def setopts(
        self,
        heir: int | None = None,
        heir_process: tuple[int, int] = (0, 0),
        heir_data: bytes | None = None,
        access: int | None = None,
    ) -> None:
        """Change heir (and its data: none, if not given), its data alone, or access, in one step.

        Raises NotOwnerError, LookupError, ValueError.
        """
        what = _CHANGE_ACCESS if access is not None else 0
        if heir is not None:
            what |= _CHANGE_HEIR
        elif heir_data is not None:
            what |= _CHANGE_HEIR_DATA
        options, _keep = _options(
            heir=heir or 0, heir_process=heir_process, heir_data=heir_data or b"", access=access or 0
        )
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
        raise_for(status, table=self.name, doing=verb, why=why + explain(self.pointer, status), errno=errno)

    def blame(self, verb: str, error: Exception) -> NoReturn:
        """Raise what is wrong with a verb's arguments, with the table's name in it; other exceptions as they are."""
        if type(error) not in _ABOUT_ARGUMENTS:
            raise error
        text = f"{verb}: table {self.name!r}: {str(error).removeprefix(f'{verb}: ')}"
        raise type(error)(text).with_traceback(error.__traceback__) from error.__cause__

    def _check(self, status: int, verb: str) -> None:
        if status != OK:
            self.fail(status, verb)

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


def _place() -> Any:
    """Where the core puts a handle, which is freed with this: a signal handler may raise before anybody has it."""
    return ffi.gc(ffi.new("struct tmgr_table **"), lib.tmgr_free_made)


def _options(*, heir_data: bytes, **fields: int | tuple[int, int]) -> tuple[Any, Any]:
    """struct tmgr_options, and the object that keeps what it points to alive."""
    keep = ffi.new("char[]", heir_data)
    options = ffi.new("struct tmgr_options *", {**fields, "heir_data": keep, "heir_data_len": len(heir_data)})
    return options, keep


@ffi.def_extern()
def tablemgr_problem(context: Any, problem: Any) -> None:
    """Called by tmgr_check for each broken invariant."""
    ffi.from_handle(context).append(ffi.string(problem).decode("utf-8", "replace"))
