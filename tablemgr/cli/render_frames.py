# SPDX-License-Identifier: Apache-2.0
"""Frames as text: the cells of a table's line, what happened in words, the whole as a grid or as facts for programs.

The live view draws with the same cells. Nothing here fetches anything."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from tablemgr.cli.frames import COLUMNS, Event, Frame, Line, ManagerState, Shown, State
from tablemgr.cli.words import age_text, bytes_text, cut, exit_text, printable
from tablemgr.segments import Process

HEADINGS = {name: name.upper() for name in COLUMNS} | {"growth": "GROWTH/S", "changes": "CHANGES/S"}
"""What stands over each column."""

RIGHT = ("rows", "used", "memory", "growth", "changes", "waiting", "repairs", "age")
"""The columns of figures."""

NAME_WIDTH = 40
_GAP = 2  # blanks between two columns
_DISPENSABLE = ("access", "age", "memory", "heir", "type", "repairs", "growth", "owner", "used", "state")
_STYLES: dict[State, str] = {"owned": "", "orphan": "yellow", "kept": "cyan", "damaged": "red", "closed": "dim"}


def cells(line: Line, manager: ManagerState, now: float) -> dict[str, Text]:
    """What stands in each of COLUMNS. now: epoch seconds."""
    info, state = line.info, line.state
    known = bool(info.type)
    texts = {
        "name": cut(printable(info.name), NAME_WIDTH),
        "type": info.type,
        "rows": f"{info.rows:,}" if known else "",
        "changes": rate_text(line.changes) if known else "",
        "growth": growth_text(line.growth) if known else "",
        "used": bytes_text(info.bytes_used) if known else "",
        "memory": bytes_text(info.bytes_reserved),
        "state": state,
        "owner": "" if info.owner is None else _process(info.owner),
        "heir": heir_cell(info.heir, manager) if known else "",
        "waiting": str(len(line.waiting) or ""),
        "repairs": str(info.repairs) if known else "",
        "access": info.access,
        "age": age_text(now - info.created) if known else "",
    }
    return {
        name: Text(
            text,
            style=_STYLES[state] if name in ("name", "state") else "",
            justify="right" if name in RIGHT else "left",
            no_wrap=True,
        )
        for name, text in texts.items()
    }


def growth_text(per_second: float | None) -> str:
    """Bytes per second with their sign: `+1.5 MiB`; `-` where it is not known."""
    if per_second is None:
        return "-"
    if abs(per_second) < 1:
        return "0"
    return f"{'+' if per_second > 0 else '-'}{bytes_text(round(abs(per_second)))}"


def rate_text(per_second: float | None) -> str:
    """A number per second, with a decimal where it is small; `-` where it is not known."""
    if per_second is None:
        return "-"
    return f"{per_second:.1f}" if 0 < per_second < 10 else f"{per_second:,.0f}"


def heir_cell(heir: Process | str | None, manager: ManagerState) -> str:
    """The heir, and what keeps it from inheriting."""
    if isinstance(heir, Process):
        return _process(heir)
    if heir is None:
        return "none"
    return heir if manager.process is not None or not manager.answers else f"{heir} (down)"


def _process(process: Process) -> str:
    return str(process.pid) if process.alive else f"{process.pid} dead"


def manager_text(manager: ManagerState) -> str:
    """The manager in words."""
    if not manager.answers:
        return "manager does not answer"
    return "no manager" if manager.process is None else f"manager pid {manager.process.pid}"


def summary(frame: Frame, shown: int) -> Text:
    """The instance in one line; shown: how many of its tables are."""
    tables = f"{len(frame.lines):,} table" + ("" if len(frame.lines) == 1 else "s")
    parts = [
        printable(frame.instance),
        manager_text(frame.manager),
        tables if shown == len(frame.lines) else f"{shown:,} of {tables}",
        f"{sum(line.info.rows for line in frame.lines):,} rows",
        bytes_text(sum(line.info.bytes_reserved for line in frame.lines)),
    ]
    changes = [line.changes for line in frame.lines if line.changes is not None]
    if changes:
        parts.append(f"{rate_text(sum(changes))} changes/s")
    for state, words in (("orphan", "orphaned"), ("kept", "kept"), ("damaged", "damaged"), ("closed", "closed")):
        if n := sum(line.state == state for line in frame.lines):
            parts.append(f"{n:,} {words}")
    if frame.manager.waiting:
        parts.append(f"{len(frame.manager.waiting):,} waiting")
    return Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")


# -- what happened ------------------------------------------------------------------------------------------------


def event_text(event: Event) -> Text:
    """When, which table, and what happened, in a line."""
    what = _what(event)
    table = "" if event.table is None else f"{cut(printable(event.table), NAME_WIDTH)} "
    style = "red" if event.kind in ("damaged", "owner died", "heir died", "manager down") else ""
    return Text.assemble((time.strftime("%H:%M:%S", time.localtime(event.when)), "dim"), "  ", table, (what, style))


def event_line(event: Event) -> str:
    """The same for programs that read lines: local time in ISO 8601 first, nothing cut."""
    when = datetime.fromtimestamp(event.when).astimezone().isoformat(timespec="milliseconds")
    return " ".join([when, *([] if event.table is None else [printable(event.table)]), _what(event)])


def _what(event: Event) -> str:
    pid = "" if event.process is None else f"pid {event.process.pid}"
    match event.kind:
        case "appeared":
            return f"appeared, owned by {pid}" if pid else "appeared"
        case "gone":
            return "is gone"
        case "renamed":
            return f"was renamed to {printable(event.detail)}"
        case "owner":
            before = "" if event.from_ is None else f" from pid {event.from_.pid}"
            return f"{_HOW_OWNED.get(event.detail, 'is owned by')} {pid}{before}"
        case "owner died" | "heir died":
            ended = "" if event.exit is None else f": {exit_text(event.exit)}"
            return f"{event.kind.split()[0]} {pid} died{ended}"
        case "heir":
            return f"has another heir: {event.detail}"
        case "access":
            return f"is {event.detail} now"
        case "repairs":
            return f"was repaired after a death ({event.detail} repair{'' if event.detail == '1' else 's'})"
        case "damaged":
            return f"is damaged: {' '.join(event.detail.split())}"
        case "usable":
            return "can be used again"
        case "waiting":
            return f"has {pid} waiting for it"
        case "manager up":
            return f"manager {pid} is up"
        case "manager down":
            return f"manager {pid} is gone"


_HOW_OWNED = {
    "gift": "was given to",
    "heir": "was inherited by",
    "claim": "was claimed by",
    "kept": "is kept for a successor by the manager,",
}


# -- one frame by itself ------------------------------------------------------------------------------------------


def frame_grid(shown: Shown, width: int) -> Group:
    """The instance in a line, a line per table, and below them what happened.

    width: characters in a line; where they do not suffice, columns are left out, but what is sorted by is there."""
    frame, lines = shown.frame, shown.lines
    rows = [cells(line, frame.manager, frame.when) for line in lines]
    parts: list[Text | Grid] = [summary(frame, len(lines))]
    if rows:
        grid = Grid(box=None, header_style="bold", pad_edge=False)
        names = _fitting(rows, shown.choice.column, width)
        for name in names:
            grid.add_column(HEADINGS[name], justify="right" if name in RIGHT else "left", no_wrap=True)
        for row in rows:
            grid.add_row(*(row[name] for name in names))
        parts += [Text(), grid]
    if frame.events:
        parts += [Text(), *map(event_text, frame.events)]
    return Group(*parts)


def _fitting(rows: Sequence[Mapping[str, Text]], column: str, width: int) -> list[str]:
    """The columns that there is room for; one where nothing stands takes none."""
    widths = {name: max(row[name].cell_len for row in rows) for name in COLUMNS}
    names = [name for name in COLUMNS if widths[name]]
    for name in _DISPENSABLE:
        if sum(max(widths[each], len(HEADINGS[each])) + _GAP for each in names) - _GAP <= width:
            break
        if name in names and name != column:
            names.remove(name)
    return names


def frame_facts(shown: Shown) -> dict[str, object]:
    """A frame for programs: `tables` have what `TableInfo` has, and state, rates per second and who waits besides."""
    frame = shown.frame
    return {
        "instance": frame.instance,
        "when": frame.when,
        "manager": frame.manager.process,
        "manager_answers": frame.manager.answers,
        "tables": [_line_facts(line) for line in shown.lines],
        "events": list(frame.events),
    }


def _line_facts(line: Line) -> dict[str, object]:
    return {
        **{each.name: getattr(line.info, each.name) for each in dataclasses.fields(line.info)},
        "state": line.state,
        "bytes_growth_per_second": line.growth,
        "changes_per_second": line.changes,
        "waiting": list(line.waiting),
    }


def event_lines(events: Iterable[Event], n: int) -> Text:
    """The last n of what happened, the newest first."""
    return Text("\n").join([event_text(event) for event in reversed(list(events)[-n:])])
