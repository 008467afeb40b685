# SPDX-License-Identifier: Apache-2.0
"""The screens of `tablemgr top` that show a table's rows page by page, and one row whole."""

from __future__ import annotations

import asyncio
import pprint
from collections.abc import Callable
from itertools import zip_longest
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Input, Static

from tablemgr.cli import render, render_frames
from tablemgr.cli.frames import Frame, Pager, RowsPage
from tablemgr.cli.words import cut, printable

ROW_TEXT_MOST: Final = 100_000  # characters of a row that are shown


class RowsScreen(Screen[None]):
    """The rows of one table. Pages are as they were when they were fetched; the line above them is live."""

    CSS = """
    #facts { height: auto; max-height: 50%; border-bottom: solid $primary; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back"),
        Binding("n", "page('forward')", "next page"),
        Binding("p", "page('back')", "previous"),
        Binding("slash", "match", "match"),
        Binding("r", "page('here')", "again"),
        Binding("i", "facts", "facts"),
    ]

    def __init__(self, table: str, pager: Callable[[str, str], Pager], frame: Frame | None) -> None:
        super().__init__()
        self._frame = frame
        self._shown = table
        self._make_pager = pager
        self._pager = pager(table, "")
        self.page: RowsPage | None = None
        self._is_fetching = False

    def compose(self) -> ComposeResult:
        """The table, its facts if they are asked for, rows, a line to type in."""
        yield Static(id="table", classes="bold")
        yield Static(id="trouble", classes="trouble")
        with VerticalScroll(id="facts"):
            yield Static(id="all-facts")
        yield DataTable[Text](id="rows", cursor_type="row")
        yield Static(id="where")
        yield Input(placeholder="a pattern like ('a', _, v1); empty: all rows", id="match")
        yield Footer()

    def on_mount(self) -> None:
        """The first page, below what is known."""
        if self._frame is not None:
            self.show(self._frame)
        self.query_one("#rows").focus()
        self._fetch("here")

    # -- drawing ------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame) -> None:
        """What a new frame says of the table."""
        self._frame = frame
        if not self.query("#table"):
            return  # it is about to be mounted
        lines = [line for line in frame.lines if line.info.name == self._shown]
        if not lines:
            self.query_one("#table", Static).update(Text(f"{printable(self._shown)} is gone", style="red"))
            return
        cells = render_frames.cells(lines[0], frame.manager, frame.when)
        parts = [cells["name"].plain, cells["type"].plain, cells["access"].plain, lines[0].state]
        parts += [f"{cells[name].plain} {name}" for name in ("rows", "changes", "used", "memory") if cells[name].plain]
        parts += [f"{name} {cells[name].plain}" for name in ("owner", "heir") if cells[name].plain]
        parts += [f"{cells['waiting'].plain} waiting"] if lines[0].waiting else []
        title = Text(" · ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")
        self.query_one("#table", Static).update(title)
        self.query_one("#all-facts", Static).update(render.detail_grid(lines[0].info))

    def _draw(self, page: RowsPage) -> None:
        self.page = page
        trouble = self.query_one("#trouble", Static)
        trouble.update(Text(page.trouble))
        trouble.display = bool(page.trouble)
        table: DataTable[Text] = self.query_one("#rows", DataTable)
        table.clear(columns=True)
        rows = [
            [Text(cut(repr(value)), style="bold" if at == page.keypos else "") for at, value in enumerate(row)]
            for row in page.rows
        ]
        for position, column in enumerate(zip_longest(*rows, fillvalue=Text())):
            title = Text(f"{position} (key)" if position == page.keypos else str(position), style="bold")
            # said, as a table that is cleared and filled again may miss its own measuring of the new rows
            table.add_column(title, width=max(text.cell_len for text in (title, *column)))
        for cells in rows:
            table.add_row(*cells, *[Text()] * (len(table.columns) - len(cells)))
        self.query_one("#where", Static).update(Text(_where(page), style="dim"))

    # -- fetching -----------------------------------------------------------------------------------------------------

    def _fetch(self, step: str) -> None:
        """Have a page fetched and draw it; one at a time of one pager."""
        self._is_fetching = True
        self.query_one("#where", Static).update(Text("looking...", style="dim"))
        self.run_worker(self._fetched(self._pager, step), group="page", exclusive=True)

    async def _fetched(self, pager: Pager, step: str) -> None:
        page = await asyncio.to_thread(getattr(pager, step))
        if pager is self._pager:
            self._is_fetching = False
            self._draw(page)

    # -- keys ---------------------------------------------------------------------------------------------------------

    def action_page(self, step: str) -> None:
        """The next page, the one before, or this one as it is now."""
        if not self._is_fetching:
            self._fetch(step)

    def action_match(self) -> None:
        """Type a pattern."""
        line = self.query_one("#match", Input)
        line.display = True
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Only rows that match; what is no pattern is said to be none."""
        self.query_one("#rows").focus()
        event.input.display = bool(event.value.strip())
        self._pager = self._make_pager(self._shown, event.value)
        self._fetch("here")

    def action_facts(self) -> None:
        """Everything known of the table, or no more of it."""
        facts = self.query_one("#facts")
        facts.display = not facts.display

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """This row, whole."""
        if self.page is not None and event.cursor_row < len(self.page.rows):
            self.app.push_screen(RowScreen(self.page.rows[event.cursor_row]))

    def action_leave(self) -> None:
        """Out of the line that is being typed, or back to the tables."""
        if self.query_one("#match", Input).has_focus:
            self.query_one("#rows").focus()
        else:
            self.dismiss()


def _where(page: RowsPage) -> str:
    """Which part of the table a page is."""
    if page.trouble:
        return ""
    rows = f"page {page.number + 1:,}, {len(page.rows):,} row{'' if len(page.rows) == 1 else 's'}"
    more = "the last" if page.is_last else "n: more"
    matching = f" that match {page.pattern}" if page.pattern else f" of {page.total:,}"
    return f"{rows}{matching}, {more}"


class RowScreen(ModalScreen[None]):
    """One row, whole."""

    CSS = """
    RowScreen { align: center middle; }
    #row { width: 90%; height: 80%; border: solid $primary; background: $surface; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "leave", "back")]

    def __init__(self, row: tuple[object, ...]) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        """As Python writes it, over several lines."""
        with VerticalScroll(id="row"):
            yield Static(Text(cut(pprint.pformat(self._row), ROW_TEXT_MOST)))

    def action_leave(self) -> None:
        """Back to the rows."""
        self.dismiss()
