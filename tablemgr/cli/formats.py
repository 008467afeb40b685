# SPDX-License-Identifier: Apache-2.0
"""The formats of `dump` and `load`: which one is meant, and tables as text in either of the two that are text.

A table comes from a text as it does from a file of `save`: it has its name when it is complete, or never."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final

from tablemgr import file_format, files
from tablemgr.cli import csvrows, jsonlines
from tablemgr.file_format import Progress
from tablemgr.table import Table

NATIVE: Final = "native"
JSONL: Final = "jsonl"
CSV: Final = "csv"
NAMES: Final = (NATIVE, JSONL, CSV)

_ROWS_AT_A_TIME: Final = 1000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a new table is to be; None: as the file says, or as usual."""

    name: str | None
    type: str | None
    access: str | None
    keypos: int | None


def named(wanted: str | None, file: str) -> str:
    """The format that was asked for, else the one that the ending of the file's name stands for."""
    ending = file.rpartition(".")[2]
    return wanted or (ending if ending in (JSONL, CSV) else NATIVE)


# -- out ---------------------------------------------------------------------------------------------------------------


def write_text(table: Table, file: BinaryIO, kind: str, progress: Progress) -> int:
    """Write all rows, live, and with JSON lines what the table is. Returns their number; TypeError, ValueError."""
    header = files.header_of(table)
    total = 0
    with _text(file) as out:
        if kind == JSONL:
            out.write(jsonlines.line_of_facts({"tablemgr": file_format.VERSION, **asdict(header)}) + "\n")
        for row in table:
            out.write(csvrows.line_of_row(row) if kind == CSV else jsonlines.line_of_row(row) + "\n")
            total += 1
            if total % _ROWS_AT_A_TIME == 0:
                progress(total, max(total, header.rows))
        if kind == JSONL:
            out.write(jsonlines.line_of_facts({"rows": total}) + "\n")
    return total


@contextlib.contextmanager
def _text(file: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """The file as text to write; it stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


# -- in ----------------------------------------------------------------------------------------------------------------


def read_text(
    file: BinaryIO,
    kind: str,
    wishes: Wishes,
    *,
    where: str,
    partial: bool,
    instance: str | None,
    progress: Progress,
) -> tuple[Table, str]:
    """The table of a text and, with `partial`, what ended it too early ("": nothing). Its heir is the manager.

    Raises ValueError for what is not sound, naming the line, and what making the table and inserting raise."""
    try:
        lines = _JsonLines(file) if kind == JSONL else _CsvLines(file)
    except ValueError as error:
        raise ValueError(f"{where}, {error}") from None
    said = lines.facts
    name = wishes.name if wishes.name is not None else said.get("name")
    if name is None:
        raise ValueError(f"{where} does not say what the table's name is: --name does")
    with files.building(
        name,
        type=wishes.type or said.get("type", "set"),
        access=wishes.access or said.get("access", "protected"),
        keypos=wishes.keypos if wishes.keypos is not None else said.get("keypos", 0),
        codec="msgpack",
        heir="manager",
        instance=instance,
    ) as table:
        done, trouble = _fill(table, lines, said.get("rows", 0), progress)
        if trouble is None:
            return table, ""
        damage = f"{where}, {trouble}; the {done} rows before that are sound"
        if not partial:
            raise ValueError(f"{damage}: --partial takes those. No table was made") from trouble
        return table, f"{damage} and were taken"


def _fill(
    table: Table, rows: Iterable[tuple[Any, ...]], expected: int, progress: Progress
) -> tuple[int, ValueError | TypeError | None]:
    """Insert the rows until one is not sound. Returns how many went in, and what was wrong with the next."""
    done = 0
    reading = _Reading(rows)
    while batch := list(itertools.islice(reading, _ROWS_AT_A_TIME)):
        trouble = _insert(table.insert, batch)
        if trouble is None:
            done += len(batch)
            progress(done, max(done, expected))
            continue
        for row in batch:  # which one?
            trouble = _insert(table.insert, row)
            if trouble is not None:
                return done, type(trouble)(f"row {done + 1}: {trouble}")
            done += 1
    return done, reading.trouble


def _insert(insert: Callable[[Any], None], what: Any) -> ValueError | TypeError | None:
    try:
        insert(what)
    except (ValueError, TypeError) as error:
        return error
    return None


class _Reading:
    """Rows until there are none, or until there is a ValueError: `trouble` keeps it."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._rows = iter(rows)
        self.trouble: ValueError | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        if self.trouble is not None:
            raise StopIteration
        try:
            return next(self._rows)
        except ValueError as error:
            self.trouble = error
            raise StopIteration from None


class _CsvLines:
    """Rows of CSV; it says nothing of the table."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.facts: dict[str, Any] = {}

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        # What is no UTF-8 becomes lone surrogates, which no table takes: so the row that has it is the one refused.
        lines = (line.decode("utf-8", "surrogateescape") for line in self._file)
        first = next(lines, "").removeprefix("\ufeff")
        return csvrows.rows(itertools.chain([first], lines))


class _JsonLines:
    """Rows of JSON lines. Where the first line says what the table is, the last one has to be there and right."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = enumerate(file, start=1)
        self._first: tuple[Any, ...] | None = None
        self.facts: dict[str, Any] = {}
        first = next(self._parsed(), None)
        if isinstance(first, dict):
            self.facts = _checked(first)
        else:
            self._first = first

    def _parsed(self) -> Iterator[tuple[Any, ...] | dict[str, Any]]:
        for number, line in self._lines:
            if line.strip():
                try:
                    yield jsonlines.parse(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        done = 0
        if self._first is not None:
            done = 1
            yield self._first
        for row in self._parsed():
            if isinstance(row, dict):
                if row != {"rows": done}:
                    raise ValueError(f"the last line says {row}, but there were {done} rows")
                if next(self._parsed(), None) is not None:
                    raise ValueError("there is more behind the last line")
                return
            done += 1
            yield row
        if self.facts:
            raise ValueError("it is cut off: the last line, with the number of rows, is missing")


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
    if facts.get("tablemgr") != file_format.VERSION:
        raise ValueError(f'the first line must be a row or have "tablemgr": {file_format.VERSION}')
    for name, kind in (("name", str), ("type", str), ("access", str), ("keypos", int), ("rows", int)):
        if type(facts.get(name)) is not kind:
            raise ValueError(f"the first line must have {name!r}, of type {kind.__name__}")
    return facts
