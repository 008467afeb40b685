# SPDX-License-Identifier: Apache-2.0
"""Segments and their names: which tables an instance has, what each is, and how one is removed. No rows here.

A table is the segment /dev/shm/tablemgr.INSTANCE.NAME, both parts percent-encoded, so every name is stored exactly and
names of different instances cannot meet.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, unquote_to_bytes

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

SHM: Final = Path("/dev/shm")
INSTANCE_VARIABLE: Final = "TABLEMGR_INSTANCE"
NAME_MAX: Final = 255  # bytes of a segment's name, slash included

TYPES: Final = ("set", "ordered_set", "bag", "duplicate_bag")  # the position is the core's number, here and below
BAG_TYPES: Final = ("bag", "duplicate_bag")  # with any number of rows per key
ACCESSES: Final = ("public", "protected", "private")
REASONS: Final[tuple[Literal["gift", "heir", "claim"] | None, ...]] = (None, "gift", "heir", "claim", "heir")
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+")


@dataclass(frozen=True, slots=True)
class Process:
    """A process: pid, start in clock ticks since boot (tells it from another that has its pid later), and whether it
    was alive when this was made."""

    pid: int
    start: int
    alive: bool


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


# -- names -------------------------------------------------------------------------------------------------------------


def resolve_instance(instance: str | None = None) -> str:
    """The instance that is meant: the argument, $TABLEMGR_INSTANCE, or "default". Raises TypeError, ValueError."""
    if instance is None:
        instance = os.environ.get(INSTANCE_VARIABLE) or "default"
    _encode(instance, "an instance")
    return instance


def segment_name(instance: str, name: str) -> str:
    """The name of a table's segment. Raises TypeError, ValueError for what cannot be a name, saying why."""
    segment = f"/tablemgr.{_encode(instance, 'an instance')}.{_encode(name, 'a table')}"
    if len(segment) > NAME_MAX:
        raise ValueError(
            f"the name {_shown(name)} is too long: '/tablemgr.INSTANCE.NAME' may have {NAME_MAX} characters and would "
            f"have {len(segment)} (what is not an ASCII letter, digit, '_' or '-' takes 3 per byte of UTF-8)"
        )
    return segment


def parse_segment_name(segment: str) -> tuple[str, str] | None:
    """(instance, name) of a segment's name, with or without its slash; None if it is not one of ours."""
    parts = segment.removeprefix("/").split(".")
    if len(parts) != 3 or parts[0] != "tablemgr" or not all(_ENCODED.fullmatch(part) for part in parts[1:]):
        return None
    try:
        instance, name = (unquote_to_bytes(part).decode() for part in parts[1:])
        return (instance, name) if segment_name(instance, name) == "/" + segment.removeprefix("/") else None
    except ValueError:
        return None


def scan(instance: str) -> list[tuple[str, str]]:
    """(name, segment) of everything in /dev/shm that bears a name of this instance, sorted; a look, not a use."""
    return sorted((name, "/" + entry) for entry, name in names_of_entries(instance, {}).items())


def names_of_entries(instance: str, known: dict[str, str]) -> dict[str, str]:
    """The table's name of each entry of /dev/shm that bears one of this instance; known: what this said before."""
    prefix = f"tablemgr.{_encode(instance, 'an instance')}."
    found = {}
    for entry in os.listdir(SHM):
        if entry.startswith(prefix):
            name = known.get(entry)
            if name is None:
                parsed = parse_segment_name(entry)
                if parsed is None:
                    continue
                name = parsed[1]
            found[entry] = name
    return found


def _encode(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of {what} must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError(f"the name of {what} must not be empty")
    if "\0" in name:
        raise ValueError(f"the name {_shown(name)} of {what} has a NUL character in it")
    try:
        # quote() leaves dots and tildes as they are: dots part the segment's name, so they must go
        return quote(name.encode(), safe="").replace(".", "%2E").replace("~", "%7E")
    except UnicodeEncodeError:
        raise ValueError(f"the name {_shown(name)} of {what} has a lone surrogate in it, which is no text") from None


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 40 else name[:37] + "...")


# -- tables ------------------------------------------------------------------------------------------------------------


def attach(instance: str, name: str, mapping: int = _ffi.MAP_AUTO, doing: str = "attach") -> Handle:
    """A handle on a table that is there: not dropped, and not one that went with its owner (that is removed).

    doing: the call that is to be named where this is refused.

    Raises TableNotFoundError, and what Handle.attach raises.
    """
    segment = segment_name(instance, name)
    try:
        handle = Handle.attach(segment, mapping, name, doing)
    except AccessError as error:
        raise AccessError(f"{error}{foreign_user(segment)}") from None
    try:
        raw = handle.describe()
        if raw.dropped or _went_with_owner(handle, raw, mapping):
            raise_for(Status.NO_TABLE, table=name, doing=doing)
    except BaseException:
        handle.close()
        raise
    return handle


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


def describe(handle: Handle) -> TableInfo:
    """What a table is. Raises TableClosedError, and TableNotFoundError if it was dropped."""
    raw = handle.describe()
    if raw.dropped:
        handle.fail(Status.NO_TABLE, "info")
    parsed = parse_segment_name(segment=handle.segment)
    return _info(raw, parsed[0] if parsed else "")


def _sighting(raw: RawInfo, instance: str) -> Sighting:
    info, reason = _info(raw, instance), _reason(raw)
    if reason is None:
        return Sighting(info, raw.table_id, raw.retired, raw.transfer_seq)
    ended = raw.transfer_exit if reason != "gift" and raw.transfer_end == _ffi.END_KNOWN else None
    previous = _process(raw.transfer_from)
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
    return TableTransfer(raw.name, _process(raw.transfer_from), data, reason, raw.transfer_ns / 1e9)


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
            handle = attach(instance, name, _mapping_to_look(segment))
        except TableNotFoundError:
            continue
        except (TableError, OSError, MemoryError) as error:
            unusable = _unusable(name, instance, segment, error)
            if unusable is not None:
                found.append(Sighting(unusable))
            continue
        try:
            raw = handle.describe()
        finally:
            handle.close()
        if not raw.dropped:
            found.append(_sighting(raw, instance))
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
    raw = handle.describe()
    if raw.readonly and not force:
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


def _process(process: tuple[int, int]) -> Process:
    return Process(*process, _ffi.process_alive(*process))


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
