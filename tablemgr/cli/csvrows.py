# SPDX-License-Identifier: Apache-2.0
"""Rows as CSV: a cell is what one would type for it on the command line, a Python literal, else the text itself.

So `7` is an int, `'7'` and `seven` are strings, and a row comes back as it was. Rows have to be flat: None, bool, int,
float but not NaN, str and bytes. Cells with a comma or a quotation mark in them are quoted as CSV has it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tablemgr.cli import literals

_FLAT: Final = (type(None), bool, int, bytes)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_INT: Final = re.compile(r"-?[1-9][0-9]{0,18}|0")
_CONSTANTS: Final = frozenset({"None", "True", "False"})
_LONGEST_CELL: Final = 2**31 - 1  # a row has at most half of that


def line_of_row(row: tuple[Any, ...]) -> str:
    """One record, with its end. Raises TypeError, ValueError for a row that is not flat, naming type and position."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([_cell(value, position) for position, value in enumerate(row)])
    return line.getvalue()


def rows(lines: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of lines that have their ends. Raises ValueError for what is no CSV, naming the line."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.reader(lines, strict=True)
        for cells in reader:
            if cells:  # csv gives an empty list for an empty line
                yield tuple(map(_value, cells))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)


def _cell(value: Any, position: int) -> str:
    if type(value) is str:
        if _WORD.fullmatch(value):
            return repr(value) if value in _CONSTANTS else value
        return value if value.isprintable() and literals.parse(value) is value else repr(value)
    if type(value) is float:
        if math.isnan(value):
            raise ValueError(f"row[{position}]: CSV has no way to write the float nan; --format jsonl has")
        return repr(value) if math.isfinite(value) else "1e999" if value > 0 else "-1e999"
    if type(value) not in _FLAT:
        raise TypeError(
            f"row[{position}]: CSV has no way to write a value of type {type(value).__name__}; --format jsonl has"
        )
    return repr(value)


def _value(cell: str) -> Any:
    if _INT.fullmatch(cell):
        return int(cell)
    return cell if _WORD.fullmatch(cell) and cell not in _CONSTANTS else literals.parse(cell)
