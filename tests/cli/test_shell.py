# SPDX-License-Identifier: Apache-2.0
"""What a shell, a script or a terminal may do to a command: dashes, closed streams, narrow windows, odd variables."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

import tablemgr as tm
from tablemgr.cli import render
from tablemgr.cli.answers import Rows, Tables
from tablemgr.cli.exits import ExitStatus

from .conftest import Command
from .support import PATIENCE


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line for `sh`; in it `$tablemgr` is the command."""
    return subprocess.run(
        ["sh", "-c", line.replace("$tablemgr", f"{sys.executable} -m tablemgr")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_two_dashes_are_a_key_and_a_value_like_any_other(tablemgr: Command) -> None:
    """The first `--` ends the options; what reads the same behind it, or as the value of an option, is kept."""
    with tm.create("t", type="ordered_set", access="public", heir="manager") as table:
        assert tablemgr("put", "t", "--", "--", "7").status == ExitStatus.OK
        assert tablemgr("put", "--", "t", "a", "--", "--").status == ExitStatus.OK
        assert list(table) == [("--", 7), ("a", "--", "--")]
        assert tablemgr("get", "t", "--", "--").out == "('--', 7)\n"
        assert tablemgr("show", "t", "--from=--", "--to=a").out == "('--', 7)\n"
        assert tablemgr("put", "t", "b=--", "1").status == ExitStatus.OK
        assert tablemgr("delete", "t", "--", "--", "a", "b=--").status == ExitStatus.OK
        assert len(table) == 0


def test_a_table_may_be_named_by_two_dashes(tablemgr: Command) -> None:
    """Names are any text."""
    tm.create("--", access="public", heir="manager").close()
    assert tablemgr("put", "--", "--", "k", "v").status == ExitStatus.OK
    assert tablemgr("drop", "--", "--").status == ExitStatus.OK
    assert tm.tables() == []


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon", "-inf"])
@pytest.mark.parametrize("command", ["wait", "stop"])
def test_what_is_no_time_to_wait_is_wrong_usage(tablemgr: Command, command: str, seconds: str) -> None:
    """Whether or not there is a manager, which is not asked."""
    ran = tablemgr(command, f"--timeout={seconds}")
    assert ran.status == ExitStatus.USAGE
    assert f"--timeout: must be a number of seconds from 0 up, not '{seconds}'" in ran.err


@pytest.mark.parametrize("line", ["put t k 1 >&-", "list >&-", "top --once --interval=0 >&-", "get t a >&- 2>&-"])
def test_a_command_whose_output_is_closed_does_its_work(instance: str, line: str) -> None:
    """Nobody wants to know what it says."""
    with tm.create("t", access="public", heir="manager") as table:
        table.insert(("a",))
        ran = shell(f"$tablemgr {line}")
        assert (ran.returncode, ran.stdout, ran.stderr) == (ExitStatus.OK, "", "")


def test_an_input_that_is_closed_is_empty(instance: str) -> None:
    """There is nobody to ask, and no table in it."""
    with tm.create("t", access="public", heir="manager") as table:
        table.insert(("a",))
        asked = shell("$tablemgr select t _ --delete <&-")
        assert (asked.returncode, asked.stdout) == (ExitStatus.USAGE, "")
        assert "say --yes" in asked.stderr
        assert len(table) == 1
    loaded = shell("$tablemgr load - <&-")
    assert loaded.returncode == ExitStatus.ERROR
    assert "NoneType" not in loaded.stderr


def test_a_long_name_leaves_room_for_the_other_columns(tablemgr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a window of ordinary width it takes several lines, and nothing of it is lost."""
    monkeypatch.setenv("COLUMNS", "100")
    with tm.create("n" * 120, heir="manager") as table:
        table.insert((1, 2))
        out = tablemgr("list").out
    assert all(word in out for word in ("NAME", "TYPE", "set", "protected", "MEMORY", "OWNER", "manager", "REPAIRS"))
    assert out.count("n" * 10) >= 10
    assert "…" not in out


@pytest.mark.parametrize("columns", ["0", "1", "5", "none"])
def test_a_window_too_narrow_for_anything_still_shows_names(
    instance: str, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """0 columns are none told; where no name would fit, the terminal has to wrap the lines."""
    monkeypatch.setenv("COLUMNS", columns)
    tm.create("jobs", heir="manager").close()
    out = render.console()
    out.file = io.StringIO()
    render.render(Tables(instance, tuple(tm.tables())), out, as_json=False)
    assert "jobs" in out.file.getvalue()


@pytest.mark.parametrize("pager", ["/nonexistent/pager -x", "A=b /nonexistent/pager", "'"])
def test_rows_are_shown_without_a_pager_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], pager: str
) -> None:
    """What is written to a program that cannot be started is lost."""
    monkeypatch.setenv("PAGER", pager)
    monkeypatch.delenv("MANPAGER", raising=False)
    monkeypatch.setattr("pydoc.pager", lambda content: None)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=10)
    render.render(Rows("t", 0, [(n,) for n in range(20)], total=20, paged=True), console, as_json=False)
    assert isinstance(console.file, io.StringIO)
    assert "19" in console.file.getvalue()


def test_the_help_of_show_writes_a_variable_as_it_is_typed(tablemgr: Command) -> None:
    """In quotes it would be a text."""
    assert "(or $1)" in " ".join(tablemgr("show", "--help").out.split())
    with tm.create("t", access="public", heir="manager") as table:
        table.insert([(1, 1), (1.5, 2)])
        assert tablemgr("show", "t", "--match", "($1, $1)").out == "(1, 1)\n"


def test_what_a_terminal_has_no_letters_for_is_escaped(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a row it is a Python literal still."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with tm.create("t", access="public", heir="manager") as table:
        table.insert(("k", "\u00e9\u6f22"))
        assert shell("$tablemgr show t").stdout == "('k', '\\xe9\\u6f22')\n"
        assert shell("$tablemgr top --once --interval=0").returncode == ExitStatus.OK


def test_a_limit_may_be_any_number(tablemgr: Command) -> None:
    """More than there could be rows is all of them."""
    with tm.create("t", type="ordered_set", access="public", heir="manager") as table:
        table.insert((1,))
        for argv in (("show", "t"), ("show", "t", "--reverse"), ("select", "t", "_")):
            assert tablemgr(*argv, "--limit", str(2**64)).out == "(1,)\n"
