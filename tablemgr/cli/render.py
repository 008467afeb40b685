# SPDX-License-Identifier: Apache-2.0
"""Snapshots as text: `rich` tables for people, JSON for programs. Nothing here fetches anything."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table as Grid
from rich.text import Text

from tablemgr.cli import render_frames
from tablemgr.cli.answers import (
    Checked,
    Detail,
    Done,
    Events,
    Instance,
    Nothing,
    Rows,
    Snapshot,
    Tables,
    Text as PlainText,
)
from tablemgr.cli.frames import Shown
from tablemgr.cli.words import (
    age_text,
    bytes_text,
    cut,
    fact_text,
    heir_text,
    is_closed,
    is_foreign,
    moment_text,
    owner_text,
    printable,
    process_text,
    user_text,
)
from tablemgr.segments import TableInfo

PIPE_WIDTH = 10_000  # characters; as good as any number, so nothing is cut that a program reads
TERMINAL_WIDTH = 80  # of a terminal that does not tell
WITHOUT_NAMES = 85  # what a list of tables needs besides their names; a long one takes several lines where it must
LEAST_FOR_NAMES = 20
TABLE_COLUMNS = ("NAME", "TYPE", "ACCESS", "ROWS", "MEMORY", "OWNER", "HEIR", "AGE", "REPAIRS")
NUMBERS = ("ROWS", "MEMORY", "AGE", "REPAIRS")  # to the right
MAY_WRAP = ("TYPE", "ACCESS", "AGE", "REPAIRS")
LEAST_WIDTH = 40  # below it columns would vanish; what is narrower wraps the lines


def console() -> Console:
    """Standard output, as wide as $COLUMNS or the terminal say, but never so narrow that nothing could be read."""
    unknown = (TERMINAL_WIDTH if sys.stdout.isatty() else PIPE_WIDTH, 0)
    return Console(highlight=False, width=max(LEAST_WIDTH, shutil.get_terminal_size(unknown).columns))


def render(snapshot: Snapshot, out: Console, *, as_json: bool) -> None:
    """Write a snapshot to `out`, as JSON or as a person likes to read it."""
    match snapshot:
        case Nothing():
            return
        case Events():
            for event in snapshot.events:
                line = json.dumps(plain(event)) if as_json else render_frames.event_line(event)
                print(line, flush=True)  # whoever reads it wants to know now
        case Rows() if as_json:
            _rows_json(snapshot)
        case _ if as_json:
            print(json.dumps(facts(snapshot), indent=2))
        case Tables():
            grid = tables_grid(snapshot, out.width)
            if isinstance(grid, Text) and not out.is_terminal:
                print(grid.plain, file=out.file)
            else:
                out.print(grid, soft_wrap=isinstance(grid, Text))
        case Detail():
            out.print(detail_grid(snapshot.info))
        case Instance():
            out.print(instance_grid(snapshot))
        case Shown():
            out.print(render_frames.frame_grid(snapshot, out.width))
        case Rows():
            _rows_text(snapshot, out)
        case Checked():
            _checked_text(snapshot, out)
        case Done():
            out.print(printable(snapshot.text), markup=False, soft_wrap=True)
        case PlainText():
            sys.stdout.write(snapshot.text)


# -- for programs ---------------------------------------------------------------------------------------------------


def facts(snapshot: Snapshot) -> object:
    """A snapshot as what `json.dumps` takes."""
    match snapshot:
        case Tables():
            return [plain(info) for info in snapshot.tables]
        case Detail():
            return plain(snapshot.info)
        case Shown():
            return plain(render_frames.frame_facts(snapshot))
        case Rows():
            return [plain(row) for row in snapshot.rows]
        case Checked():
            return snapshot.problems
        case Done() | PlainText():
            return plain(snapshot.facts)
        case _:
            return plain(snapshot)


def plain(value: object) -> object:
    """A value as JSON has it. Tuples become lists; what JSON has no word for becomes `{"$python": "<literal>"}`."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"$python": f"float({str(value)!r})"}
        case list() | tuple():
            return [plain(element) for element in value]
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: plain(element) for key, element in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name.rstrip("_"): plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return {"$python": repr(value)}


def _rows_json(snapshot: Rows) -> None:
    sys.stdout.write("[")
    for position, row in enumerate(snapshot.rows):
        sys.stdout.write(("," if position else "") + "\n  " + json.dumps(plain(row)))
    sys.stdout.write("\n]\n")


# -- for people -----------------------------------------------------------------------------------------------------


def tables_grid(snapshot: Tables, width: int) -> Grid | Text:
    """A line per table, sorted by name, for a terminal of so many columns."""
    if not snapshot.tables:
        return Text(f"no tables in instance {printable(snapshot.instance)}")
    with_users = any(is_foreign(info) for info in snapshot.tables)
    titles = [*TABLE_COLUMNS, *(["USER"] if with_users else [])]
    rows = []
    now = time.time()
    for info in sorted(snapshot.tables, key=lambda info: info.name):
        memory = bytes_text(info.bytes_reserved)
        if info.damaged is not None and not info.type:
            state = Text("not yours") if is_closed(info) else Text("damaged", style="red")
            cells: list[Text | str] = [state, "", "", memory, "", "", "", ""]
        else:
            cells = [
                info.type,
                info.access,
                f"{info.rows:,}",
                memory,
                owner_text(info) + ("" if info.damaged is None else " DAMAGED"),
                heir_text(info.heir),
                age_text(now - info.created),
                str(info.repairs),
            ]
        rows.append([printable(info.name), *cells, *([user_text(info.uid)] if with_users else [])])
    widths = [max(_width(str(cell)) for cell in column) for column in zip(titles, *rows, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= width:
        return _aligned(titles, rows, widths)
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    room = max(LEAST_FOR_NAMES, width - WITHOUT_NAMES)
    for title in titles:
        is_long = title == "NAME" and widths[0] > room
        grid.add_column(
            title,
            justify="right" if title in NUMBERS else "left",
            no_wrap=not is_long and title not in MAY_WRAP,
            overflow="fold" if is_long else "ellipsis",
            width=room if is_long else None,
        )
    for row in rows:
        grid.add_row(Text(str(row[0])), *row[1:])
    return grid


def _width(text: str) -> int:
    """In columns of a terminal."""
    return len(text) if text.isascii() else cell_len(text)


def _aligned(titles: Sequence[str], rows: Iterable[Sequence[Text | str]], widths: Sequence[int]) -> Text:
    """Rows under their titles, where all fit: for 10,000 tables fifty times as fast as a grid, whose cells may wrap."""
    styled: list[tuple[str | Style, int, int]] = []
    lines: list[str] = []
    at = 0  # characters in the lines before
    for row in (titles, *rows):
        parts: list[str] = []
        for title, cell, width in zip(titles, row, widths, strict=True):
            plain_cell = str(cell)
            room = " " * (width - _width(plain_cell))
            if isinstance(cell, Text):
                styled.append((cell.style, at + sum(map(len, parts)) + 2 * len(parts), len(plain_cell)))
            parts.append(room + plain_cell if title in NUMBERS else plain_cell + room)
        lines.append("  ".join(parts))
        at += len(lines[-1]) + 1
    text = Text("\n".join(lines))
    text.stylize("bold", 0, len(lines[0]))
    for style, start, length in styled:
        text.stylize(style, start, start + length)
    return text


def detail_grid(info: TableInfo) -> Grid:
    """A line per fact of one table."""
    grid = Grid(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for field in dataclasses.fields(info):
        grid.add_row(field.name.replace("_", " ").strip(), Text(fact_text(field.name, getattr(info, field.name))))
    return grid


def instance_grid(snapshot: Instance) -> Grid:
    """An instance and its manager."""
    grid = Grid(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("instance", Text(printable(snapshot.instance)))
    manager = "not running" if snapshot.manager is None else process_text(snapshot.manager)
    grid.add_row("manager", manager + ("" if snapshot.since is None else f", since {moment_text(snapshot.since)}"))
    grid.add_row("socket", Text(printable(snapshot.socket)))
    facts = ((snapshot.orphans, "orphans"), (snapshot.kept, "kept for a successor"), (snapshot.damaged, "damaged"))
    states = [f"{n:,} {what}" for n, what in facts if n]
    grid.add_row("tables", f"{snapshot.tables:,}" + (f" ({', '.join(states)})" if states else ""))
    grid.add_row("rows", f"{snapshot.rows:,}")
    grid.add_row("memory", bytes_text(snapshot.bytes_reserved))
    for name, process in snapshot.waiting:
        grid.add_row("waiting", Text(f"{process_text(process)} for {printable(name)}"))
    return grid


def _rows_text(snapshot: Rows, out: Console) -> None:
    if not out.is_terminal:
        for row in snapshot.rows:
            sys.stdout.write(repr(row) + "\n")
        return
    rows = list(snapshot.rows)
    grid = rows_grid(rows, snapshot.keypos)
    note = ""
    if snapshot.total is not None and len(rows) < snapshot.total:
        note = f"{len(rows):,} of {snapshot.total:,} rows; --limit 0 shows all"
    elif snapshot.more:
        note = f"the first {len(rows):,}; --limit 0 shows all"
    if snapshot.paged and len(rows) > out.height - 3 and _has_pager():
        with _colours_in_less(), out.pager(styles=True):
            out.print(grid)
            out.print(note)
        return
    out.print(grid)
    if note:
        out.print(note, style="dim")


def _has_pager() -> bool:
    """Whether the pager that the user chose, if any, is there: what is written to one that is not is lost."""
    chosen = os.environ.get("MANPAGER") or os.environ.get("PAGER")
    if not chosen:
        return True
    try:
        words = [word for word in shlex.split(chosen) if "=" not in word]  # without the variables set for it
    except ValueError:
        return False
    return bool(words) and shutil.which(words[0]) is not None


@contextlib.contextmanager
def _colours_in_less() -> Iterator[None]:
    """Have `less` show colours, end by itself where nothing is left to scroll, and leave the rows on the screen.

    As git has it; who has set LESS has chosen already.
    """
    if "LESS" in os.environ:
        yield
        return
    os.environ["LESS"] = "-FRX"
    try:
        yield
    finally:
        del os.environ["LESS"]


def rows_grid(rows: Iterable[object], keypos: int | None) -> Grid:
    """Rows as a grid: a column per position, the key's in bold, long values cut. What is no tuple has one column."""
    lines = [row if isinstance(row, tuple) else (row,) for row in rows]
    grid = Grid(box=None, header_style="dim", pad_edge=False)
    width = max((len(row) for row in lines), default=0)
    for position in range(width):
        grid.add_column(f"{position} (key)" if position == keypos else str(position), no_wrap=True, overflow="ellipsis")
    for row in lines:
        cells = [Text(cut(repr(value)), style="bold" if at == keypos else "") for at, value in enumerate(row)]
        grid.add_row(*cells)
    return grid


def _checked_text(snapshot: Checked, out: Console) -> None:
    for name, problems in snapshot.problems.items():
        verdict = "sound" if not problems else f"{len(problems)} broken"
        out.print(f"{printable(name)}: {verdict}", markup=False, soft_wrap=True)
        for problem in problems:
            out.print(f"  {problem}", markup=False, soft_wrap=True)
