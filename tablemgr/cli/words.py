# SPDX-License-Identifier: Apache-2.0
"""Words and figures for people: how names, bytes, times, processes and states are written, wherever they are shown."""

from __future__ import annotations

import os
import pwd
import signal
import time

from tablemgr.segments import Process, TableInfo

CELL_WIDTH = 60


def is_foreign(info: TableInfo) -> bool:
    """Whether the segment belongs to another user."""
    return info.uid != os.geteuid()


def is_closed(info: TableInfo) -> bool:
    """Whether nothing can be said of it because it is another user's, not because it is damaged."""
    return info.damaged is not None and not info.type and is_foreign(info)


def printable(text: str) -> str:
    """The text itself, or, where it holds characters that a terminal would act on, its Python literal."""
    return text if text.isprintable() and text else repr(text)


def cut(text: str, width: int = CELL_WIDTH) -> str:
    """At most `width` characters of a text, with a mark where something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def bytes_text(n_bytes: int) -> str:
    """A number of bytes in the binary unit that suits it: `1.5 MiB`."""
    value = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def age_text(seconds: float) -> str:
    """A span of time in its largest fitting unit: `42s`, `3m`, `5h`, `2d`."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(0, int(seconds // divisor))}{unit}"
    return f"{int(seconds // 86_400)}d"


def moment_text(epoch_seconds: float) -> str:
    """A point in time, local."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_seconds))


def process_text(process: Process) -> str:
    """A process: its pid, and whether it is dead."""
    return f"pid {process.pid}" + ("" if process.alive else " (dead)")


def exit_text(status: int) -> str:
    """How a process ended: `exit code 1`, or the signal that killed it."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def owner_text(info: TableInfo) -> str:
    """The owner; a dead one makes the table an orphan, a manager may only keep it for a successor."""
    if info.owner is None:
        return "-"
    if info.orphan:
        return f"orphan of {info.owner.pid}"
    return f"kept by {info.owner.pid}" if info.kept else process_text(info.owner)


def user_text(uid: int) -> str:
    """A user's name, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def heir_text(heir: Process | str | None) -> str:
    """The heir: `manager`, a process, or nobody."""
    if heir is None:
        return "none"
    return heir if isinstance(heir, str) else process_text(heir)


def fact_text(name: str, value: object) -> str:
    """One fact of a table: bytes, times and processes in words, anything else as Python writes it."""
    match value:
        case None:
            return "-"
        case Process():
            return f"{process_text(value)}, started at tick {value.start}"
        case int() if name.endswith("bytes") or name.startswith("bytes"):
            return f"{bytes_text(value)} ({value:,} bytes)"
        case float():
            return moment_text(value)
        case int() if name == "uid":
            return user_text(value)
        case int() if name == "mode":
            return oct(value)
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case str():
            return printable(value)
        case _:
            return repr(value)
