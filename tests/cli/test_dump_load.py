# SPDX-License-Identifier: Apache-2.0
"""dump and load: tables through files, in each format, and nothing half done."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import math
import os
import pty
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import tablemgr as tm
from tablemgr import segments
from tablemgr.cli import csvrows, jsonlines
from tests.unit.test_codec import same, values

from .conftest import Command
from .support import PATIENCE, Owner

flat = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary()
TEXTS = st.sampled_from(
    ["7", "'7'", "None", "None ", " a", "nan", "inf", "a,b", 'say "x"', "a\nb", "\r", "", "1_0", "b''"]
)
FLAT_ROWS: list[tuple[Any, ...]] = [
    (1, "one", None),
    ("1", 'a, "b"', True),
    (b"\x00", "", -1.5),
    ("None", "'x'\n", 2**70),
    ("Grüße", math.inf, -0.0),
]
RICH_ROWS: list[tuple[Any, ...]] = [
    *FLAT_ROWS,
    ((1, (2,)), [1, [2]], {"a": {"$b": 1}, "c": {1: 2}}),
    (decimal.Decimal("1.10"), {1, "a"}, frozenset({(1,)})),
    (uuid.UUID(int=5), bytearray(b"x"), math.nan),
    (dt.date(2024, 2, 29), dt.time(1, 2, 3, 4, fold=1), dt.timedelta(-1, 2, 3)),
    (dt.datetime(2024, 2, 29, 1, fold=1, tzinfo=dt.timezone(dt.timedelta(hours=-1, seconds=7))), {}, ()),
]


def make(name: str, rows: list[tuple[Any, ...]], **options: Any) -> tm.Table:
    table = tm.create(name, **options)
    table.insert(rows)
    return table


def contents(table: tm.Table) -> list[str]:
    return sorted(map(repr, table))


@pytest.mark.parametrize("kind", segments.TYPES)
@pytest.mark.parametrize(("form", "rows"), [("native", RICH_ROWS), ("jsonl", RICH_ROWS), ("csv", FLAT_ROWS)])
def test_what_is_dumped_is_loaded(
    tablemgr: Command, tmp_path: Path, kind: str, form: str, rows: list[tuple[Any, ...]]
) -> None:
    """Every row, and what the table is; the table that is made outlives the command."""
    table = make("t", rows, type=kind, access="public")
    file = str(tmp_path / "t.dump")
    dumped = tablemgr("dump", "t", file, "--format", form, "--json")
    assert dumped.json == {"table": "t", "file": file, "format": form, "rows": len(rows)}
    options = ["--type", kind, "--access", "public", "--name", "t"] if form == "csv" else []
    table_rows = contents(table)
    table.drop()
    loaded = tablemgr("load", file, "--format", form, "--json", *options)
    assert (loaded.status, loaded.err) == (0, "")
    assert loaded.json == {"table": "t", "file": file, "format": form, "rows": len(rows), "damage": None}
    again = tm.attach("t")
    info = again.info()
    assert (info.type, info.access, info.keypos, info.heir) == (kind, "public", 0, "manager")
    assert contents(again) == table_rows
    assert os.listdir(tmp_path) == ["t.dump"]


def test_the_ending_says_the_format(tablemgr: Command, tmp_path: Path) -> None:
    """.jsonl and .csv are those, everything else is what tm.save writes and tm.load reads."""
    table = make("t", [(1, "one")])
    for ending, start in (
        ("jsonl", b'{"tablemgr": 1'),
        ("csv", b"1,one\n"),
        ("tm", b"\x89tmgr"),
        ("json", b"\x89tmgr"),
    ):
        file = tmp_path / f"x.{ending}"
        assert tablemgr("dump", "t", str(file)).out == f"1 rows of t dumped to {file}\n"
        assert file.read_bytes().startswith(start)
        assert tablemgr("load", str(file), "--name", ending).out == f"1 rows of {file} loaded into {ending}\n"
        assert list(tm.attach(ending)) == [(1, "one")]
    assert list(tm.load(tmp_path / "x.tm", name="mine")) == [(1, "one")]
    tm.save(table, tmp_path / "saved")
    assert tablemgr("load", str(tmp_path / "saved"), "--name", "saved", "--access", "private").status == 0
    assert tm.attach("saved").info().access == "private"


@pytest.mark.parametrize("form", ["native", "jsonl", "csv"])
def test_a_pipe_is_a_file(form: str, instance: str) -> None:
    """- is standard output, and standard input; nothing else is written to them."""
    make("t", [(n, f"row {n}") for n in range(5000)])
    tablemgr = [sys.executable, "-m", "tablemgr"]
    with subprocess.Popen([*tablemgr, "dump", "t", "-", "--format", form], stdout=subprocess.PIPE) as dump:
        load = subprocess.run(
            [*tablemgr, "load", "-", "--format", form, "--name", "n"],
            stdin=dump.stdout,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert dump.wait(PATIENCE) == 0
    assert (load.returncode, load.stdout, load.stderr) == (0, "5000 rows of - loaded into n\n", "")
    assert contents(tm.attach("n")) == contents(tm.attach("t"))
    del instance


def test_jsonl_of_other_programs_is_loaded(tablemgr: Command, tmp_path: Path) -> None:
    """Rows alone, with blank lines and a byte-order mark; the options say what the table is."""
    file = tmp_path / "rows.jsonl"
    file.write_text('\ufeff["a", 1]\n\n["b", {"x": [null, 1.0]}]\n')
    assert tablemgr("load", str(file)).status == 1
    ran = tablemgr("load", str(file), "--name", "t", "--type", "ordered_set", "--access", "public", "--keypos", "0")
    assert ran.status == 0
    table = tm.attach("t")
    assert (list(table), table.info().type) == ([("a", 1), ("b", {"x": [None, 1.0]})], "ordered_set")


def test_what_a_format_cannot_write_is_refused(tablemgr: Command, tmp_path: Path) -> None:
    """The type is named, the file that was there stays, and nothing is left beside it."""
    file = tmp_path / "t.csv"
    file.write_text("before")
    for value, name in (((1,), "tuple"), (dt.date(2024, 1, 1), "date"), (math.nan, "nan"), ({"a": 1}, "dict")):
        table = make("t", [(1, value)])
        ran = tablemgr("dump", "t", str(file))
        assert ran.status == 1
        assert f"{name}" in ran.err
        assert "row[1]" in ran.err
        table.drop()
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["t.csv"]


@pytest.mark.parametrize(
    ("form", "damage", "line", "rows"),
    [
        ("jsonl", lambda data: data[:-20], "cut off|line", 2999),
        ("jsonl", lambda data: b"".join(data.splitlines(keepends=True)[:-1]), "cut off", 3000),
        ("jsonl", lambda data: b"".join(data.splitlines(keepends=True)[:2000]), "cut off", 1999),
        ("jsonl", lambda data: data.replace(b'[7, "row 7"]\n', b""), "the last line says", 2999),
        ("jsonl", lambda data: data.replace(b'[7, "row 7"]', b'[7, "row 7"'), "line 9", 7),
        ("jsonl", lambda data: data.replace(b'[7, "row 7"]', b'[[7], "row 7"]'), "row 8: .*list", 7),
        ("jsonl", lambda data: data.replace(b'"row 7"', b'"\xff"'), "line 9: .*utf-8", 7),
        ("jsonl", lambda data: data.replace(b'"row 7"', b'{"$no": 1}'), "line 9: .*no", 7),
        ("jsonl", lambda data: data.replace(b'"row 7"', b"NaN"), "line 9: NaN", 7),
        ("jsonl", lambda data: data + b"[1]\n", "behind", 3000),
        ("csv", lambda data: data.replace(b"row 7\n", b'"row 7\n', 1), "line", 7),
        ("csv", lambda data: data.replace(b"\n8,", b'\n"(1,[2])",', 1), "row 9: .*list", 8),
        ("csv", lambda data: data.replace(b"row 7", b"\xff", 1), "row 8: .*surrogate", 7),
        ("native", lambda data: data[:-5], "cut off", 3000),
    ],
)
def test_a_damaged_file_is_refused_whole_or_read_as_far_as_it_is_sound(
    tablemgr: Command, tmp_path: Path, form: str, damage: Callable[[bytes], bytes], line: str, rows: int
) -> None:
    """Where the damage is, and how many rows before it are sound; --partial takes those and says so."""
    table = make("t", [(n, f"row {n}") for n in range(3000)], type="ordered_set")
    file = tmp_path / f"t.{form}"
    assert tablemgr("dump", "t", str(file)).status == 0
    table.drop()
    file.write_bytes(damage(file.read_bytes()))
    refused = tablemgr("load", str(file), "--name", "t")
    assert refused.status == 1
    assert re.search(line, refused.err), refused.err
    assert "partial" in refused.err
    assert tm.tables() == []
    taken = tablemgr("load", str(file), "--name", "t", "--partial")
    assert taken.status == 0
    assert "sound" in taken.err
    assert f"{len(tm.attach('t'))} rows" in taken.err
    if rows:
        assert len(tm.attach("t")) == rows


def test_pickles_pass_through_native_files_unopened(tablemgr: Command, tmp_path: Path) -> None:
    """dump and load handle them as bytes; the text formats would have to unpickle, so they refuse."""
    table = make("p", [(1, complex(1, 2))], codec="pickle")
    native = str(tmp_path / "p.tm")
    assert tablemgr("dump", "p", native).status == 0
    for form in ("jsonl", "csv"):
        refused = tablemgr("dump", "p", str(tmp_path / "x"), "--format", form)
        assert refused.status == 1
        assert "pickle" in refused.err
    table.drop()
    assert tablemgr("load", native).status == 0
    assert tm.attach("p", codec="pickle").lookup(1) == [(1, complex(1, 2))]


def test_wrong_uses_end_with_their_codes(tablemgr: Command, tmp_path: Path) -> None:
    """No such table or file: 3; no such directory, a name that is taken: 1; options that do not fit: 2."""
    file = str(tmp_path / "t.tm")
    assert tablemgr("dump", "nope", file).status == 3
    make("t", [(1,)])
    assert tablemgr("dump", "t", file).status == 0
    for argv, status, word in (
        (("load", file), 1, "exists"),
        (("load", str(tmp_path / "none")), 3, "no file"),
        (("load", file, "--name", "x", "--type", "set"), 2, "native"),
        (("load", file, "--name", "x", "--keypos", "1"), 2, "native"),
        (("load", file, "--name", "x", "--format", "xml"), 2, "xml"),
        (("load", file, "--name", "x", "--format", "jsonl"), 1, "codec"),
        (("dump", "t", str(tmp_path / "none" / "t")), 1, "No such file"),
        (("dump", "t", str(tmp_path)), 1, "regular"),
        (("load", file, "--name", ""), 1, "empty"),
    ):
        ran = tablemgr(*argv)
        assert (ran.status, word in ran.err) == (status, True), ran
    for text, word in (
        ("", "--name"),
        ("{}", "tablemgr"),
        ('{"tablemgr": 2}', "tablemgr"),
        ('{"tablemgr": 1, "name": 3}', "name"),
        ("7", "line 1"),
    ):
        path = tmp_path / "x.jsonl"
        path.write_text(text)
        ran = tablemgr("load", str(path))
        assert (ran.status, word in ran.err) == (1, True), ran
    with Owner("private", access="private"):
        before = (tmp_path / "t.tm").read_bytes()
        assert tablemgr("dump", "private", file).status == 1
        assert tablemgr("dump", "private", file, "--format", "csv").status == 1
        assert (tmp_path / "t.tm").read_bytes() == before
    tm.drop("private", force=True)
    assert [info.name for info in tm.tables()] == ["t"]


def test_a_person_sees_a_bar_and_a_program_does_not(tmp_path: Path, instance: str) -> None:
    """On a terminal standard error shows how far it is; the native format is not written to a terminal."""
    make("t", [(n, "x" * 100) for n in range(20_000)])
    here, there = pty.openpty()
    command = [sys.executable, "-m", "tablemgr", "dump", "t", str(tmp_path / "t.tm")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=there) as dump:
        os.close(there)
        seen = b""
        while True:
            try:
                seen += os.read(here, 4096)
            except OSError:  # the other end is closed
                break
        assert dump.wait(PATIENCE) == 0
    os.close(here)
    assert b"dumping t" in seen
    assert b"rows" in seen
    here, there = pty.openpty()
    ran = subprocess.run(
        [*command[:-1], "-"], stdout=there, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )
    os.close(there)
    os.close(here)
    assert (ran.returncode, "terminal" in ran.stderr) == (2, True)
    del instance


# -- the text formats themselves ---------------------------------------------------------------------------------------


@given(st.lists(values, min_size=1, max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_json_lines_lose_nothing(row: list[Any]) -> None:
    """Any row comes back equal and of the same types, from one line of JSON."""
    line = jsonlines.line_of_row(tuple(row))
    assert "\n" not in line
    json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert same(jsonlines.parse(line), tuple(row))


@pytest.mark.parametrize("microseconds", [1, -1, 999_999, -999_999, 0, 1_000_001, -60_000_000])
def test_json_lines_keep_offsets_below_a_second(microseconds: int) -> None:
    """An offset from UTC of less than a second, and those around it, come back as they were."""
    zone = dt.timezone(dt.timedelta(microseconds=microseconds))
    row = (dt.datetime(2000, 1, 1, tzinfo=zone), dt.time(1, 2, 3, 4, tzinfo=zone))
    assert same(jsonlines.parse(jsonlines.line_of_row(row)), row)


@given(st.lists(flat | TEXTS, min_size=1, max_size=4))
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_csv_loses_nothing_of_flat_rows(row: list[Any]) -> None:
    """Any flat row comes back equal and of the same types, from one record."""
    line = csvrows.line_of_row(tuple(row))
    [again] = csvrows.rows(io.StringIO(line, newline=""))
    assert same(again, tuple(row))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('[{"$tuple": 1}]', "tuple"),
        ('[{"$set": [[1]]}]', "set"),
        ('[{"$dict": [[1]]}]', "dict"),
        ('[{"$dict": [[[1], 1]]}]', "dict"),
        ('[{"$int": "x"}]', "int"),
        ('[{"$int": 1}]', "int"),
        ('[{"$bytes": "a"}]', "bytes"),
        ('[{"$decimal": "x"}]', "decimal"),
        ('[{"$uuid": "x"}]', "uuid"),
        ('[{"$date": "2024-02-30"}]', "date"),
        ('[{"$timedelta": [1, "x"]}]', "timedelta"),
        ('[{"$timedelta": [9999999999, 0, 0]}]', "timedelta"),
        ('[{"$date": "2024-02-29", "fold": 1}]', "date"),
        ('[{"$float": "1.0", "$int": "1"}]', "float"),
        ('[{"$unknown": 1}]', "unknown"),
        ("[Infinity]", "Infinity"),
        ("[" * 100_000, "deep"),
        ("1", "array"),
        ("", "value"),
    ],
)
def test_json_that_is_no_row_is_a_value_error(line: str, word: str) -> None:
    """Named by its tag."""
    with pytest.raises(ValueError, match=word):
        jsonlines.parse(line)
