# SPDX-License-Identifier: Apache-2.0
"""`tablemgr top`: one frame as text and as JSON, and the live view, driven by the keyboard."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import segment_names, segments
from tablemgr.cli import watching
from tablemgr.cli.frames import Choice
from tablemgr.cli.row_pages import RowPages

from .conftest import Command
from .support import PATIENCE, make_orphan


def make_tables(instance: str) -> None:
    """One of each state."""
    tm.create("counts", access="public").insert([(n, "row") for n in range(500)])
    tm.create("mine", access="private", type="bag")
    make_orphan("left", [(1, "x")])
    Path(f"/dev/shm{segment_names.segment_name(instance, 'bad')}").write_bytes(b"\xff" * 8192)


def test_one_frame_lists_tables_in_every_state(tablemgr: Command, instance: str) -> None:
    """Private, orphaned and damaged ones too, without a manager."""
    make_tables(instance)
    ran = tablemgr("top", "--once", "--interval", "0")
    assert ran.status == 0
    lines = {line.split()[0]: line for line in ran.out.splitlines() if line}
    assert "no manager · 4 tables · 501 rows" in ran.out
    assert "owned" in lines["mine"]
    assert "orphan" in lines["left"]
    assert "damaged" in lines["bad"]


def test_one_frame_for_programs_has_rates(tablemgr: Command, instance: str) -> None:
    """Two looks give them; sorted and filtered as asked."""
    make_tables(instance)
    facts = tablemgr("top", "--once", "--json", "--interval", "0.01", "--sort", "rows", "--filter", "*t*").json
    assert [table["name"] for table in facts["tables"]] == ["counts", "left"]
    assert facts["tables"][0]["changes_per_second"] == 0.0
    assert facts["tables"][1]["state"] == "orphan"
    assert facts["manager"] is None


def test_a_narrow_terminal_gets_fewer_columns(tablemgr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never cut ones; what is sorted by stays."""
    tm.create("t").insert((1,))
    monkeypatch.setenv("COLUMNS", "60")
    out = tablemgr("top", "--once", "--interval", "0", "--sort", "heir").out
    assert "HEIR" in out
    assert "MEMORY" not in out
    assert "…" not in out.split("\n", 1)[1]


@pytest.mark.parametrize("argv", [[], ["--json"], ["--once", "--interval", "-1"], ["--once", "--interval", "nan"]])
def test_what_cannot_be_shown_is_a_usage_error(tablemgr: Command, argv: list[str]) -> None:
    """The live view needs a terminal and is no JSON; an interval is a number of seconds."""
    assert tablemgr("top", *argv).status == 2


def test_without_textual_the_view_says_how_to_get_it(tablemgr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what does without."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    ran = tablemgr("top")
    assert ran.status == 1
    assert "pip install 'tablemgr[top]'" in ran.err
    assert "--once" in ran.err


def test_changes_are_counted_from_what_the_table_gives_up(instance: str) -> None:
    """New, replaced and deleted rows each leave their trace."""
    watcher = watching.Watcher(instance)
    with tm.create("t", access="public") as table:
        watcher.frame()
        for n in range(100):
            table.insert((n, 0))
        (inserted,) = watcher.frame().lines
        retired = segments.sightings(instance)[0].retired
        for n in range(100):
            table.insert((n, 1))
        assert segments.sightings(instance)[0].retired == retired + 100
        for n in range(100):
            table.delete(n)
        assert segments.sightings(instance)[0].retired == retired + 200
        assert inserted.changes is not None
        assert inserted.changes > 0


def test_rows_come_in_pages_forwards_and_back(instance: str) -> None:
    """The last page says that it is; before the first and behind the last there is nothing."""
    with tm.create("t", type="ordered_set") as table:
        table.insert([(n,) for n in range(25)])
        pages = RowPages("t", instance, page_rows=10)
        assert pages.here().rows == tuple((n,) for n in range(10))
        assert pages.forward().rows[0] == (10,)
        last = pages.forward()
        assert (len(last.rows), last.is_last, last.number, last.total) == (5, True, 2, 25)
        assert pages.forward().number == 2
        assert pages.back().rows[0] == (10,)
        assert pages.back().rows[0] == (0,)
        assert pages.back().number == 0
        assert RowPages("t", instance, "(7,)").here().rows == ((7,),)


def test_rows_that_cannot_be_read_are_a_page_with_the_reason(instance: str) -> None:
    """A table that is gone, damaged or replaced, and what is no pattern."""
    make_tables(instance)
    assert RowPages("bad", instance).here().trouble
    assert RowPages("none", instance).here().trouble
    assert "pattern" in RowPages("counts", instance, "(((").here().trouble
    pages = RowPages("counts", instance, page_rows=10)
    assert not pages.here().trouble
    tm.drop("counts")
    with tm.create("counts") as table:
        table.insert((1,))
        assert pages.forward().trouble
        table.drop()


# -- the live view --------------------------------------------------------------------------------------------------


def screen_text(app: Any) -> str:
    """What stands on the screen, as text."""
    return "\n".join("".join(part.text for part in line).rstrip() for line in app.screen._compositor.render_strips())


def drive(instance: str, steps: Callable[[Any, Any], Awaitable[None]], interval: float = 3600.0) -> None:
    """Run the view without a terminal and press keys."""
    pytest.importorskip("textual", exc_type=ImportError)
    from tablemgr.cli.top_view import TopApp

    async def run() -> None:
        app = TopApp(
            watching.Watcher(instance).frame, lambda name, match: RowPages(name, instance, match), Choice(), interval
        )
        async with app.run_test(size=(150, 30)) as pilot:
            await steps(app, pilot)

    asyncio.run(run())


async def until(app: Any, pilot: Any, *texts: str) -> str:
    """The screen as soon as all of these stand on it."""
    deadline = time.monotonic() + PATIENCE
    while not all(text in (shown := screen_text(app)) for text in texts):
        assert time.monotonic() < deadline, f"{texts} are not all on\n{shown}"
        await pilot.pause(0.02)
    return shown


def names(shown: str) -> list[str]:
    """The names of the tables in the order in which they stand on the screen."""
    return [word for line in shown.splitlines() if (word := line.split(" ")[0]) in ("counts", "mine", "left", "bad")]


def test_the_view_sorts_and_filters(instance: str) -> None:
    """By the next column, the other way round, and by name."""
    make_tables(instance)

    async def steps(app: Any, pilot: Any) -> None:
        assert names(await until(app, pilot, "NAME ▲", "orphan", "damaged")) == ["bad", "counts", "left", "mine"]
        await pilot.press("o")
        assert names(await until(app, pilot, "NAME ▼")) == ["mine", "left", "counts", "bad"]
        await pilot.press("s", "s")
        assert names(await until(app, pilot, "ROWS ▼")) == ["counts", "left", "mine", "bad"]
        await pilot.press("slash", "m", "i", "enter")
        assert names(await until(app, pilot, "1 of 4 tables")) == ["mine"]
        await pilot.press("escape")
        await until(app, pilot, "· 4 tables")

    drive(instance, steps)


def test_the_view_shows_rows_by_page_and_pattern(instance: str) -> None:
    """A row whole, too, and back again; what is no pattern is said to be none."""
    make_tables(instance)

    async def steps(app: Any, pilot: Any) -> None:
        await until(app, pilot, "counts")
        await pilot.press("down", "enter")
        await until(app, pilot, "0 (key)", "page 1, 200 rows of 500, n: more")
        await pilot.press("n", "n")
        while "page 3" not in (shown := screen_text(app)):
            await pilot.press("n")
            await pilot.pause(0.02)
        assert "100 rows of 500, the last" in shown
        await pilot.press("slash", *"(7,_)", "enter")
        await until(app, pilot, "page 1, 1 row that match (7,_), the last", "'row'")
        await pilot.press("enter")
        await until(app, pilot, "(7, 'row')")
        await pilot.press("escape", "i")
        await until(app, pilot, "bytes reserved")
        await pilot.press("slash", "(", "enter")
        await until(app, pilot, "was never closed")
        await pilot.press("escape")
        await until(app, pilot, "NAME ▲")

    drive(instance, steps)


def test_a_table_that_is_dropped_while_it_is_looked_at_is_said_to_be_gone(instance: str) -> None:
    """Above its rows, instead of its rows, and among the events."""
    with tm.create("t", access="public") as table:
        table.insert((1, "x"))

        async def steps(app: Any, pilot: Any) -> None:
            await until(app, pilot, "· 1 table")
            await pilot.press("enter")
            await until(app, pilot, "page 1, 1 row of 1")
            table.drop()
            app.action_look()
            await until(app, pilot, "t is gone")
            await pilot.press("r")
            await until(app, pilot, "there is no table")
            await pilot.press("escape")
            await until(app, pilot, "0 tables", "t is gone")

        drive(instance, steps)


def test_private_and_damaged_tables_say_why_they_have_no_rows_to_show(instance: str) -> None:
    """Each is opened, says it, and is left again."""
    make_tables(instance)

    async def steps(app: Any, pilot: Any) -> None:
        await until(app, pilot, "bad")
        await pilot.press("enter")
        await until(app, pilot, "damaged", "attach")
        await pilot.press("escape")
        await until(app, pilot, "NAME ▲")

    drive(instance, steps)


def test_a_thousand_tables_are_scrolled_through(instance: str) -> None:
    """Only what is seen is drawn; the cursor reaches the last one."""
    from tablemgr.cli.frames import Frame, Line, ManagerState

    from .test_render import info

    pytest.importorskip("textual", exc_type=ImportError)
    from tablemgr.cli.top_view import TopApp

    lines = tuple(Line(info(f"t{n:04}", rows=n)) for n in range(1000))
    frame = Frame("i", time.time(), ManagerState(), lines)

    async def run() -> None:
        app = TopApp(lambda: frame, lambda name, match: RowPages(name, instance, match), Choice(), 3600.0)
        async with app.run_test(size=(120, 30)) as pilot:
            await until(app, pilot, "1,000 tables", "t0000")
            await pilot.press("end")
            assert "t0000" not in await until(app, pilot, "t0999")
            await pilot.press("s", "s")
            await until(app, pilot, "ROWS ▼", "t0999")

    asyncio.run(run())


def test_the_view_runs_in_a_real_terminal(instance: str) -> None:
    """Through a pseudo-terminal: it draws the tables, and `q` ends it with 0 and no traceback."""
    pytest.importorskip("textual", exc_type=ImportError)
    with tm.create("counts", access="public"):
        master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        view = subprocess.Popen(
            [sys.executable, "-m", "tablemgr", "top"], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        seen, pressed, deadline = b"", False, time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                if select.select([master], [], [], 0.1)[0]:
                    try:
                        seen += os.read(master, 65536)
                    except OSError:  # the other end is closed
                        break
                if b"counts" in seen and not pressed:
                    os.write(master, b"q")
                    pressed = True
            assert view.wait(PATIENCE) == 0
        finally:
            view.kill()
            view.wait()
            os.close(master)
        assert pressed
        assert b"Traceback" not in seen
