# SPDX-License-Identifier: Apache-2.0
"""What the core tells of a segment, in Python's types."""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

from tablemgr._core import ffi, lib
from tablemgr.errors import Status

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
REASON_OFFERED: Final = 5
END_OPEN: Final = 0
END_UNKNOWN: Final = 1
END_KNOWN: Final = 2
CLAIM_ORPHAN: Final = 0
CLAIM_ORPHAN_OR_KEPT: Final = 1
CLAIM_TO_KEEP: Final = 2
CLAIM_TO_OFFER: Final = 3
CLAIM_OFFERED: Final = 4
MAP_WRITE: Final = 0
MAP_READ: Final = 1
MAP_AUTO: Final = 2
MAP_HEAD: Final = 3


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
        return self.transfer_reason in (REASON_KEPT, REASON_OFFERED)


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
        return self.transfer_reason in (REASON_KEPT, REASON_OFFERED)


class Ending(NamedTuple):
    """How a process, (pid, start), ended: status as in subprocess; None: it cannot be learned."""

    process: tuple[int, int]
    status: int | None


def glance(segment: str) -> tuple[int, Glance]:
    """Whose a segment is, in a few microseconds.

    The status is OK, NO_TABLE, Status.LAYOUT (it is no table), CORRUPT, NAMESPACE (its processes mean nothing here),
    BUSY or OS (then `glance_errno` says why); of the glance only uid is set unless it is OK or NAMESPACE, and with OS
    nothing.
    """
    seen = ffi.new("struct tmgr_glance *")
    return lib.tmgr_glance(os.fsencode(segment), seen), glance_from(seen)


def glance_errno() -> int:
    """Why the last `glance` of this thread ended with OS."""
    return int(lib.tmgr_errno())


def glance_from(seen: Any) -> Glance:
    """Of `struct tmgr_glance *`."""
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


def raw_info(info: Any) -> RawInfo:
    """Of `struct tmgr_info *`."""
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
        name=name_text(info),
        heir_data=bytes(ffi.buffer(info.heir_data, min(info.heir_data_len, 896))),
        transfer_data=bytes(ffi.buffer(info.transfer_data, min(info.transfer_data_len, 896))),
    )


def name_text(info: Any) -> str:
    """The table's name in `struct tmgr_info *`."""
    return bytes(ffi.buffer(info.name, min(info.name_len, 255))).decode("utf-8", "replace")


def ending_pointer(ending: Ending | None) -> Any:
    """struct tmgr_ending, or NULL."""
    if ending is None:
        return ffi.NULL
    (pid, start), status = ending
    end = END_UNKNOWN if status is None else END_KNOWN
    return ffi.new("struct tmgr_ending *", {"process": {"pid": pid, "start": start}, "end": end, "exit": status or 0})


def core_statuses() -> dict[str, int]:
    """The core's own names and numbers of its statuses, without their prefix."""
    names = ffi.typeof("enum tmgr_status").relements
    return {name.removeprefix("TMGR_"): number for name, number in names.items()}
