# SPDX-License-Identifier: Apache-2.0
"""Snapshots as text and as JSON: no table is needed for that."""

from __future__ import annotations

import datetime
import io
import json
import os
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from tablemgr.cli import render, words
from tablemgr.cli.answers import Checked, Detail, Done, Instance, Nothing, Rows, Snapshot, Tables
from tablemgr.segments import Process, TableInfo

OWNER = Process(4711, 99, True)


def info(name: str = "counts", **changes: Any) -> TableInfo:
    facts: dict[str, Any] = {
        "name": name,
        "instance": "default",
        "type": "set",
        "access": "public",
        "keypos": 0,
        "codec": "msgpack",
        "mode": 0o600,
        "uid": os.geteuid(),
        "rows": 1234567,
        "bytes_used": 1000,
        "bytes_reserved": 3 * 1024 * 1024,
        "max_bytes": None,
        "owner": OWNER,
        "heir": "manager",
        "created": 1_700_000_000.0,
        "repairs": 2,
        "last_repair": None,
        "damaged": None,
    }
    return TableInfo(**{**facts, **changes})


def text(snapshot: Snapshot, width: int = 200) -> str:
    said = io.StringIO()
    render.render(snapshot, Console(file=said, width=width, highlight=False), as_json=False)
    return said.getvalue()


def as_json(snapshot: Snapshot, capsys: pytest.CaptureFixture[str]) -> Any:
    render.render(snapshot, Console(), as_json=True)
    return json.loads(capsys.readouterr().out)


def rows(content: Iterable[tuple[object, ...]]) -> Rows:
    return Rows("t", 0, content, total=0)


def test_a_table_of_tables_has_a_line_per_table_in_order_of_names() -> None:
    """Names, rows with separators, memory in binary units, owner, heir and repairs are all there."""
    lines = text(Tables("default", (info("b"), info("a", owner=Process(5, 1, False), heir=None)))).splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "ACCESS", "ROWS", "MEMORY", "OWNER", "HEIR", "AGE", "REPAIRS"]
    assert lines[1].split()[:4] == ["a", "set", "public", "1,234,567"]
    assert "orphan of 5" in lines[1]
    assert "none" in lines[1]
    assert "3.0 MiB" in lines[2]
    assert "pid 4711" in lines[2]
    assert "manager" in lines[2]


def test_a_list_that_fits_looks_like_a_grid() -> None:
    """To the character, wide ones, damaged and other users' tables included: only how it is made differs."""
    broken = info("bad", type="", access="", owner=None, heir=None, damaged="random bytes")
    orphan = info("orphan", owner=Process(5, 1, False), heir=None, rows=3, uid=12345)
    tables = Tables("default", (info("名前"), broken, orphan))
    said = io.StringIO()
    console = Console(file=said, width=200, highlight=False)
    console.print(render.tables_grid(tables, 0))  # for no room at all, so it is a grid
    grid = [line.rstrip() for line in said.getvalue().splitlines()]
    assert [line.rstrip() for line in text(tables).splitlines()] == grid
    assert len(grid) == 4


def test_no_tables_are_said_to_be_none() -> None:
    """An empty instance gives a sentence, not an empty grid."""
    assert text(Tables("here", ())).strip() == "no tables in instance here"


def test_a_damaged_segment_has_its_line_in_the_table_of_tables() -> None:
    """What cannot be attached is listed with its name and its memory."""
    broken = info("bad", type="", access="", owner=None, heir=None, damaged="random bytes")
    line = text(Tables("default", (broken,))).splitlines()[1]
    assert line.split() == ["bad", "damaged", "3.0", "MiB"]


def test_a_name_with_control_characters_cannot_drive_the_terminal() -> None:
    """Escape sequences in names and rows come out as Python literals."""
    for snapshot in (Tables("default", (info("\x1b[2J"),)), Detail(info("\x1b[2J")), Done("put into \x1b[2J")):
        assert "\x1b" not in text(snapshot)
    assert "\\x1b[2J" in text(Tables("default", (info("\x1b[2J"),)))


def test_markup_in_names_and_values_is_text() -> None:
    """Square brackets mean nothing to the renderer."""
    assert "[red]x[/red]" in text(Tables("default", (info("[red]x[/red]"),)))
    assert "[bold]" in text(Done("[bold]"))


def test_the_details_of_a_table_are_a_line_per_fact() -> None:
    """Processes, times, modes and bytes are in words, and nothing is left out."""
    said = text(Detail(info()))
    assert "pid 4711, started at tick 99" in said
    assert "0o600" in said
    assert "3.0 MiB (3,145,728 bytes)" in said
    assert len(said.splitlines()) == len(TableInfo.__slots__)


def test_an_instance_without_a_manager_says_so() -> None:
    """Sums, orphans and who waits are there."""
    snapshot = Instance("default", None, None, "/run/x.sock", 3, 10, 2048, 1, 2, 1, (("jobs", Process(7, 1, True)),))
    said = text(snapshot)
    assert "not running" in said
    assert "3 (1 orphans, 2 kept for a successor, 1 damaged)" in said
    assert "pid 7 for jobs" in said


def test_whose_a_table_is_stands_in_the_list_if_it_is_another_users() -> None:
    """By name or number; one that its mode keeps closed is not called damaged."""
    assert "USER" not in text(Tables("i", (info(),)))
    closed = info("closed", uid=4_000_000_001, type="", damaged="refused")
    said = text(Tables("i", (info(uid=65534), closed, info("mine"))))
    assert "USER" in said
    assert "4000000001" in said
    assert "not yours" in said
    assert "damaged" not in said


def test_rows_are_written_as_python_literals(capsys: pytest.CaptureFixture[str]) -> None:
    """One row, one line, also for strings with line ends."""
    render.render(rows([(1, "a\nb"), ((2, 3), b"x")]), Console(file=io.StringIO()), as_json=False)
    assert capsys.readouterr().out == "(1, 'a\\nb')\n((2, 3), b'x')\n"


def test_rows_on_a_terminal_are_a_grid_that_names_the_key() -> None:
    """The key's column says so, and long values are cut."""
    drawn = io.StringIO()
    Console(file=drawn, width=120, highlight=False).print(render.rows_grid([("k", "v" * 200), ("l",)], keypos=0))
    said = drawn.getvalue()
    assert "0 (key)" in said
    assert "…" in said
    assert "v" * 100 not in said


@pytest.mark.parametrize(("chosen", "expected"), [(None, "-FRX"), ("-S", "-S"), ("", "")])
def test_a_pager_shows_colours_unless_its_user_chose_otherwise(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: str
) -> None:
    """`less` is told to by LESS, as git does it; afterwards the environment is as it was."""
    monkeypatch.delenv("LESS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("LESS", chosen)
    paged: list[tuple[str, str | None]] = []
    monkeypatch.setattr("pydoc.pager", lambda content: paged.append((content, os.environ.get("LESS"))))
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80, height=10)
    rows = [(n,) for n in range(20)]
    render.render(Rows("t", 0, rows, total=20, paged=True), console, as_json=False)
    ((content, seen),) = paged
    assert "\x1b[1m" in content
    assert seen == expected
    assert os.environ.get("LESS") == chosen


def test_results_that_are_no_rows_have_one_column_and_what_is_left_out_is_said() -> None:
    """No key is named; that there are more is told below."""
    drawn = io.StringIO()
    console = Console(file=drawn, width=120, highlight=False, force_terminal=True, color_system=None)
    render.render(Rows("t", None, [7, (8, 9)], total=None, more=True), console, as_json=False)
    said = drawn.getvalue()
    assert [line.split() for line in said.splitlines()[1:3]] == [["7"], ["8", "9"]]
    assert "(key)" not in said
    assert "the first 2; --limit 0 shows all" in said


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, "a", None, True, 1.5), [1, "a", None, True, 1.5]),
        ({"a": (1,)}, {"a": [1]}),
        (b"x", {"$python": "b'x'"}),
        (Decimal("1.50"), {"$python": "Decimal('1.50')"}),
        (datetime.date(2026, 1, 2), {"$python": "datetime.date(2026, 1, 2)"}),
        ({1: 2}, {"$python": "{1: 2}"}),
        (float("nan"), {"$python": "float('nan')"}),
        (2**70, 2**70),
    ],
)
def test_values_become_json_or_say_what_they_are_in_python(value: object, expected: object) -> None:
    """What JSON has is itself, tuples are lists, and the rest is a literal under `$python`."""
    assert render.plain(value) == expected
    json.dumps(render.plain(value), allow_nan=False)


def test_every_snapshot_has_a_json_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the same facts as people."""
    assert as_json(Tables("default", (info(),)), capsys)[0]["owner"] == {"pid": 4711, "start": 99, "alive": True}
    assert as_json(Detail(info()), capsys)["bytes_reserved"] == 3 * 1024 * 1024
    assert as_json(rows(iter([(1, 2), (3, 4)])), capsys) == [[1, 2], [3, 4]]
    assert as_json(rows([]), capsys) == []
    assert as_json(Checked({"a": [], "b": ["I3"]}), capsys) == {"a": [], "b": ["I3"]}
    assert as_json(Done("done", {"n": 1}), capsys) == {"n": 1}
    assert as_json(Instance("i", OWNER, 1.0, "s", 1, 2, 3, 0, 0, 0, ()), capsys)["manager"]["pid"] == 4711


def test_nothing_is_rendered_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that has said everything itself adds no output."""
    assert text(Nothing()) == ""
    render.render(Nothing(), Console(), as_json=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 * 1024, "1.5 MiB"), (5 << 40, "5.0 TiB")],
)
def test_bytes_are_told_in_binary_units(n_bytes: int, expected: str) -> None:
    """1,024 bytes are a KiB."""
    assert words.bytes_text(n_bytes) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1, "0s"), (90, "90s"), (600, "10m"), (9000, "2h"), (200_000, "2d")]
)
def test_ages_are_told_in_their_largest_unit(seconds: float, expected: str) -> None:
    """A clock that was set back gives no negative age."""
    assert words.age_text(seconds) == expected
