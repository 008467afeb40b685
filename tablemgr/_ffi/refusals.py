# SPDX-License-Identifier: Apache-2.0
"""Words for a refusal: whose the table is, where it went, what it cannot have."""

from __future__ import annotations

from typing import Any, Final

from tablemgr._core import ffi, lib
from tablemgr._ffi.facts import OK, REASON_KEPT, REASON_OFFERED
from tablemgr._ffi.processes import user_text
from tablemgr.errors import Status

_EXPLAINED: Final = (
    Status.ACCESS,
    Status.NOT_OWNER,
    Status.OWNED,
    Status.FULL,
    Status.NO_TABLE,
    Status.READONLY,
)


def explain(pointer: Any, status: int) -> str:
    """What the segment adds to a refusal. If it turns out that the owner is dead, its heir gets the table now.

    pointer: `struct tmgr_table *`.
    """
    if status not in _EXPLAINED:
        return ""
    info = ffi.new("struct tmgr_info *")
    if lib.tmgr_describe(pointer, info) != OK:
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
    if info.owner_alive and info.transfer_reason in (REASON_KEPT, REASON_OFFERED):
        who = f"kept by the manager, process {owner}, since its owner ended: new_table() takes the table over"
    elif info.owner_alive:
        who = f"owned by process {owner}, which is alive"
    else:
        if not info.foreign_namespace:
            lib.tmgr_settle(pointer, ffi.NULL, 0)
        who = f"the owner, process {owner}, is dead: " + (
            "new_table() takes the table over" if info.trusted else f"it belongs to {user_text(info.uid)}"
        )
    if status == Status.ACCESS:
        return f": it is {('public', 'protected', 'private')[min(info.access, 2)]} and {who}"
    return f": it is {who}" if info.owner_alive else f": {who}"


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


def option_trouble(status: int, max_bytes: int) -> str:
    """What to add where a table cannot be made."""
    if status == Status.BAD_OPTION and max_bytes:
        return f": max_bytes is {max_bytes}, which is too small for an empty table or more than can be mapped"
    if status == Status.FULL:
        return ": /dev/shm or the memory limit has none for an empty one"
    return ""
