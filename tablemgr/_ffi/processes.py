# SPDX-License-Identifier: Apache-2.0
"""Processes, as the core tells one from another that has its pid by now: by pid and start time."""

from __future__ import annotations

import pwd

from tablemgr._core import ffi, lib
from tablemgr._ffi.facts import OK
from tablemgr.errors import raise_for


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
    """When the process of this pid started, in clock ticks since boot; None if there is none or it is dead.

    0 if it lives and /proc cannot be read, for want of descriptors.
    """
    process = ffi.new("struct tmgr_process *", {"pid": pid, "start": 0})
    return int(process.start) if lib.tmgr_alive(process) else None


def user_text(uid: int) -> str:
    """A user for a message: the name, if the system knows one, and the number."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
