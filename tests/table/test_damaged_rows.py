# SPDX-License-Identifier: Apache-2.0
"""Rows whose bytes somebody has overwritten in the segment: the error names the table, whatever verb meets them."""

from __future__ import annotations

import datetime
import decimal
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr.segment_names import segment_name

WORD = "unmistakable"  # of which there is one in the segment


def dict_over(table: tm.Table) -> tm.SharedDict[str, Any]:
    """The same table."""
    return tm.SharedDict(table.name, instance=table.instance)


VERBS: dict[str, Callable[[tm.Table], Any]] = {
    "lookup": lambda table: table.lookup("k"),
    "lookup_element": lambda table: table.lookup_element("k", 1),
    "lookup_many": lambda table: table.lookup_many(["k"]),
    "iter": list,
    "match": lambda table: table.match((tm.ANY, tm.var(1))),
    "select": lambda table: table.select(tm.Clause((tm.var(1), tm.var(2)), [], tm.var(2))),
    "first_lookup": lambda table: table.first_lookup(),
    "dict": lambda table: dict_over(table)["k"],
    "values": lambda table: list(dict_over(table).values()),
    "take": lambda table: table.take("k"),
}


def overwrite(table: tm.Table, found: bytes, put: bytes) -> None:
    """In the segment, behind the table's back."""
    path = Path("/dev/shm" + segment_name(table.instance, table.name))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        at = memory.find(found)
        assert at > 0
        assert memory.find(found, at + 1) < 0
        memory[at : at + len(put)] = put


@pytest.mark.parametrize("verb", VERBS)
def test_damaged_text_is_the_tables_error(verb: str) -> None:
    """Not UTF-8 any more."""
    with tm.create("t", heir=None) as table:
        table.insert(("k", [WORD]))
        overwrite(table, WORD.encode(), b"\xff\xfe")
        with pytest.raises(tm.CorruptTableError, match="'t'.*not UTF-8"):
            VERBS[verb](table)


@pytest.mark.parametrize(
    ("value", "found", "put"),
    [
        ((WORD, 1), b"\xac" + WORD.encode(), b"\xdb\xff\xff\xff\xff"),
        ((WORD, 1), b"\xac" + WORD.encode(), b"\xc1"),
        ([WORD, decimal.Decimal(271828182845904523536)], b"271828182845904523536", b"2x"),
        ([WORD, datetime.timedelta(days=7)], (7).to_bytes(4, "big") + bytes(8), b"\x7f\xff\xff\xff"),
    ],
    ids=["length", "no msgpack", "Decimal", "timedelta"],
)
def test_what_decodes_to_nothing_is_the_tables_error(value: Any, found: bytes, put: bytes) -> None:
    """Lengths beyond the row, bytes and payloads of no meaning."""
    with tm.create("t", heir=None) as table:
        table.insert(("k", value))
        overwrite(table, found, put)
        with pytest.raises(tm.CorruptTableError, match="'t'"):
            table.lookup("k")
