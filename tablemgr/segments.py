# SPDX-License-Identifier: Apache-2.0
"""Segments: which tables an instance has, what each is, and how one is removed. No rows here."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Final, Literal

import posix_ipc

from tablemgr import _ffi, bell, codec, processes
from tablemgr._ffi import Handle, RawInfo
from tablemgr.errors import (
    AccessError,
    CorruptTableError,
    Status,
    TableError,
    TableNotFoundError,
    TableOwnedError,
    raise_for,
)
from tablemgr.segment_names import SHM, parse_segment_name, resolve_instance, scan, segment_name

TYPES: Final = ("set", "ordered_set", "bag", "duplicate_bag")  # the position is the core's number, here and below
BAG_TYPES: Final = ("bag", "duplicate_bag")  # with any number of rows per key
ACCESSES: Final = ("public", "protected", "private")
REASONS: Final[tuple[Literal["gift", "heir", "claim"] | None, ...]] = (
    None,
    "gift",
    "heir",
    "claim",
    "heir",
    "heir",
)


@dataclass(frozen=True, slots=True)
class Process:
    """A process: pid, start in clock ticks since boot (tells it from another that has its pid later), and whether it
    was alive when this was made."""

    pid: int
    start: int
    alive: bool


def process_now(pid: int, start: int) -> Process:
    """A process as it is at this moment."""
    return Process(pid, start, _ffi.process_alive(pid, start))


@dataclass(frozen=True, slots=True)
class TableTransfer:
    """How a table came to its present owner.

    from_: the previous owner; data: what it left for the receiver; when: epoch seconds; reason: "gift" (given away by
    its live owner), "heir" (inherited from a dead one, also where the manager kept it in between) or "claim" (an orphan
    was claimed). A manager that kept the table is never from_.
    """

    name: str
    from_: Process
    data: Any
    reason: Literal["gift", "heir", "claim"]
    when: float


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table at one moment. Counts are of one moment each, not of one and the same.

    bytes_used: rows and their index; bytes_reserved: memory that the segment holds; max_bytes: what it may hold, as
    asked for at creation or else as much as the file system could then; mode: permission bits; uid: the user to whom
    the segment belongs. heir: a process,
    "manager", or None (the table goes with its owner). created, last_repair: epoch seconds; last_repair is None if no
    repair was ever needed, repairs counts them. kept: the owner is a manager that has the table from a dead owner, for
    whoever claims it by new_table. damaged: why the table cannot be used, None if it can; if it is not
    even a table, everything but its name, instance and bytes_reserved is empty and owner is None.
    """

    name: str
    instance: str
    type: str
    access: str
    keypos: int
    codec: str
    mode: int
    uid: int
    rows: int
    bytes_used: int
    bytes_reserved: int
    max_bytes: int
    owner: Process | None
    heir: Process | Literal["manager"] | None
    created: float
    repairs: int
    last_repair: float | None
    kept: bool = False
    damaged: str | None = None

    @property
    def orphan(self) -> bool:
        """Whether the owner is dead, so that the table can be claimed."""
        return self.owner is not None and not self.owner.alive


@dataclass(frozen=True, slots=True)
class Sighting:
    """A table as one look found it, with what shows at the next look that something happened in between.

    table_id: tells it from another table of its name, 0 if it is not even a table; retired: blocks given up so far, one
    with each row replaced or deleted and now and then one of the index, never less later on; transfers: how often it
    changed its owner, reason, previous, transferred: how, from whom and when (epoch seconds) the present one has it
    (None: made it); exit: how the previous one ended, as in subprocess, None if it did not or nobody was told.
    """

    info: TableInfo
    table_id: int = 0
    retired: int = 0
    transfers: int = 0
    reason: Literal["gift", "heir", "claim"] | None = None
    previous: Process | None = None
    transferred: float | None = None
    exit: int | None = None


# -- tables ------------------------------------------------------------------------------------------------------------


def attach(instance: str, name: str, mapping: int = _ffi.MAP_AUTO, doing: str = "attach") -> Handle:
    """A handle on a table that is there: not dropped, and not one that went with its owner (that is removed).

    doing: the call that is to be named where this is refused.

    Raises TableNotFoundError, and what Handle.attach raises.
    """
    return attach_and_describe(instance, name, mapping, doing)[0]


def attach_and_describe(
    instance: str, name: str, mapping: int = _ffi.MAP_AUTO, doing: str = "attach"
) -> tuple[Handle, RawInfo]:
    """`attach`, and what the table is, after the hand-over to a live heir if that was due."""
    segment = segment_name(instance, name)
    try:
        handle = Handle.attach(segment, mapping, name, doing)
    except AccessError as error:
        raise AccessError(f"{error}{foreign_user(segment)}") from None
    try:
        raw = handle.describe()
        if raw.dropped or _went_with_owner(handle, raw, mapping):
            raise_for(Status.NO_TABLE, table=name, doing=doing)
        if not raw.owner_alive and raw.heir == _ffi.HEIR_PROCESS:
            raw = handle.describe()
    except BaseException:
        handle.close()
        raise
    return handle, raw


def foreign_user(segment: str) -> str:
    """Words for the end of a message: to whom the segment belongs, if not to this user."""
    try:
        uid = os.stat(f"{SHM}{segment}", follow_symlinks=False).st_uid
    except OSError:
        return ""
    return "" if uid == os.geteuid() else f"; it belongs to {_ffi.user_text(uid)}"


def _went_with_owner(handle: Handle, raw: RawInfo, mapping: int) -> bool:
    """Whether the table had no heir and its owner is dead; then it is removed, as far as this process may.

    Where the heir is a live process it gets the table now: whoever notices a death performs the hand-over.
    """
    if raw.owner_alive or raw.foreign_namespace or raw.heir == _ffi.HEIR_MANAGER:
        return False
    try:
        if raw.readonly or mapping == _ffi.MAP_READ:
            head = Handle.attach(handle.segment, _ffi.MAP_HEAD, raw.name)
            try:
                status = _settle(head, raw)
            finally:
                head.close()
        else:
            status = _settle(handle, raw)
    except (AccessError, OSError):
        return raw.heir == _ffi.HEIR_NONE
    return status == _ffi.NO_TABLE


def _settle(handle: Handle, raw: RawInfo) -> int:
    """Do what the heir says, and tell a live one what there is to tell."""
    end = processes.exit_status(*raw.owner, None)
    status = handle.settle(None if end is None else _ffi.Ending(raw.owner, end))
    parsed = parse_segment_name(handle.segment)
    if status == _ffi.OK and parsed is not None:
        bell.ring(parsed[0], raw.heir_process, [raw.name])
    return status


def describe(handle: Handle, doing: str = "info") -> TableInfo:
    """What a table is. Raises TableClosedError, and TableNotFoundError if it was dropped or went with its owner.

    doing: as for attach.
    """
    raw = handle.describe(doing)
    if raw.gone:
        handle.fail(Status.NO_TABLE, doing)
    parsed = parse_segment_name(segment=handle.segment)
    return _info(raw, parsed[0] if parsed else "")


def settled(handle: Handle, doing: str) -> RawInfo:
    """What the segment says, after the hand-over to a live heir if that was due. Raises as describe."""
    raw = handle.describe(doing)
    if not raw.gone and not raw.owner_alive and raw.heir == _ffi.HEIR_PROCESS:
        _went_with_owner(handle, raw, _ffi.MAP_AUTO)
        raw = handle.describe(doing)
    if raw.gone:
        handle.fail(Status.NO_TABLE, doing)
    return raw


def _sighting(raw: RawInfo, instance: str) -> Sighting:
    info, reason = _info(raw, instance), _reason(raw)
    if reason is None:
        return Sighting(info, raw.table_id, raw.retired, raw.transfer_seq)
    ended = raw.transfer_exit if reason != "gift" and raw.transfer_end == _ffi.END_KNOWN else None
    previous = process_now(*raw.transfer_from)
    when = raw.transfer_ns / 1e9
    return Sighting(info, raw.table_id, raw.retired, raw.transfer_seq, reason, previous, when, ended)


def _reason(raw: RawInfo) -> Literal["gift", "heir", "claim"] | None:
    return REASONS[raw.transfer_reason] if raw.transfer_reason < len(REASONS) else None


def transfer(raw: RawInfo, codec_name: str = codec.MSGPACK) -> TableTransfer | None:
    """How the present owner got the table; None if it made it. Raises ValueError if data is pickled and must not be."""
    reason = _reason(raw)
    if reason is None:
        return None
    data = codec.decode_data(raw.transfer_data, codec_name)
    return TableTransfer(raw.name, process_now(*raw.transfer_from), data, reason, raw.transfer_ns / 1e9)


def tables(instance: str | None = None) -> list[TableInfo]:
    """Every table of the instance, by name; private and damaged ones too. Needs no manager.

    Tables without an heir whose owner is dead are not there any more: they are removed on the way.
    """
    return [sighting.info for sighting in sightings(resolve_instance(instance))]


def sightings(instance: str) -> list[Sighting]:
    """`tables`, with what tells one look from the next."""
    found = []
    for name, segment in scan(instance):
        try:
            handle, raw = attach_and_describe(instance, name, _mapping_to_look(segment))
        except TableNotFoundError:
            continue
        except (TableError, OSError, MemoryError) as error:
            unusable = _unusable(name, instance, segment, error)
            if unusable is not None:
                found.append(Sighting(unusable))
            continue
        handle.close()
        found.append(_sighting(raw._replace(name=name), instance))  # by which it can be attached to, and dropped
    return found


def remove_dead(instance: str | None = None) -> list[str]:
    """Remove the tables that are there in name only; returns their names.

    They had no heir and their owner is dead, or whoever dropped them was killed on the way. Every call that meets such
    a table removes it; this one goes to look for them.
    """
    instance = resolve_instance(instance)
    removed = []
    for name, segment in scan(instance):
        try:
            attach(instance, name, _mapping_to_look(segment)).close()
        except TableNotFoundError:
            if not os.path.lexists(f"{SHM}{segment}"):
                removed.append(name)
        except (TableError, OSError, MemoryError):
            pass  # what it is, `tables` tells
    return removed


def drop(name: str, force: bool = False, instance: str | None = None) -> None:
    """What `table.drop` does, for a process that reads no events."""
    instance = resolve_instance(instance)
    segment = segment_name(instance, name)
    try:
        handle = attach(instance, name, _ffi.MAP_HEAD, "drop")
    except (CorruptTableError, AccessError):
        if not force:
            raise
        _unlink(name, segment)
        return
    try:
        remove(handle, force)
    finally:
        handle.close()


def drop_orphan(name: str, instance: str | None = None) -> None:
    """Remove a table, public or not, only if nobody alive owns it but a manager that keeps it for a successor.

    Raises TableOwnedError if somebody does, and as `table.drop`. Guarantee: dropped, or claimed by another process,
    never both.
    """
    handle = attach(resolve_instance(instance), name, _ffi.MAP_HEAD, "drop")
    try:
        raw = handle.describe()
        if raw.owner_alive and not raw.kept:
            handle.fail(Status.OWNED, "drop")
        handle.claim(_ffi.CLAIM_ORPHAN_OR_KEPT)
        handle.drop()
    finally:
        handle.close()


def remove(handle: Handle, force: bool = False) -> None:
    """Drop the table behind a handle; what nobody owns is claimed for that. Raises as `table.drop`."""
    raw = handle.describe("drop")
    if raw.readonly and not force:
        if raw.gone and not raw.removed:
            handle.fail(Status.NO_TABLE, "drop")
        handle.fail(Status.NAMESPACE if raw.foreign_namespace else Status.READONLY, "drop")
    if not (force or raw.dropped or raw.foreign_namespace) and (raw.kept or not raw.owner_alive):
        with contextlib.suppress(TableOwnedError):  # another was faster: the access decides
            handle.claim(_ffi.CLAIM_ORPHAN_OR_KEPT)
    handle.drop(force)
    parsed = parse_segment_name(handle.segment)
    if parsed is not None:
        bell.ring(parsed[0], None, [raw.name])  # who stands in line for it may make another


def _unlink(name: str, segment: str) -> None:
    """Remove what bears the name without attaching to it: it is no table, so it has no control to mark as dropped."""
    try:
        posix_ipc.unlink_shared_memory(segment)
    except posix_ipc.ExistentialError:
        raise_for(Status.NO_TABLE, table=name, doing="drop")
    except posix_ipc.PermissionsError:
        raise AccessError(
            f"drop: the system does not let this user remove the segment of table {name!r}{foreign_user(segment)}"
        ) from None


def _mapping_to_look(segment: str) -> int:
    """HEAD needs the right to write, which another user's table may not give."""
    return _ffi.MAP_HEAD if os.access(f"{SHM}{segment}", os.W_OK) else _ffi.MAP_READ


def _info(raw: RawInfo, instance: str) -> TableInfo:
    heir: Process | Literal["manager"] | None = None
    if raw.heir == _ffi.HEIR_MANAGER:
        heir = "manager"
    elif raw.heir == _ffi.HEIR_PROCESS:
        heir = Process(*raw.heir_process, raw.heir_alive)
    return TableInfo(
        name=raw.name,
        instance=instance,
        type=TYPES[raw.type] if raw.type < len(TYPES) else str(raw.type),
        access=ACCESSES[raw.access] if raw.access < len(ACCESSES) else str(raw.access),
        keypos=raw.keypos,
        codec=codec.name_of(raw.codec),
        mode=raw.mode,
        uid=raw.uid,
        rows=raw.rows,
        bytes_used=raw.bytes_used,
        bytes_reserved=raw.bytes_reserved,
        max_bytes=raw.max_bytes,
        owner=Process(*raw.owner, raw.owner_alive),
        heir=heir,
        created=raw.created_ns / 1e9,
        repairs=raw.repairs,
        last_repair=raw.last_repair_ns / 1e9 if raw.last_repair_ns else None,
        kept=raw.kept,
        damaged="a repair could not verify what it found" if raw.poisoned else None,
    )


def _unusable(name: str, instance: str, segment: str, error: Exception) -> TableInfo | None:
    """What can be said of a segment that cannot be attached; None if it is gone by now."""
    try:
        stat = os.stat(f"{SHM}{segment}")
    except OSError:
        return None
    return TableInfo(
        name=name,
        instance=instance,
        type="",
        access="",
        keypos=0,
        codec="",
        mode=stat.st_mode & 0o7777,
        uid=stat.st_uid,
        rows=0,
        bytes_used=0,
        bytes_reserved=stat.st_blocks * 512,
        max_bytes=0,
        owner=None,
        heir=None,
        created=stat.st_ctime,
        repairs=0,
        last_repair=None,
        damaged=str(error),
    )
