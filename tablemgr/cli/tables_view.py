# SPDX-License-Identifier: Apache-2.0
"""The screen of `tablemgr top` that has a line per table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from rich.console import JustifyMethod
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from tablemgr.cli import render_frames
from tablemgr.cli.frames import COLUMNS, Choice, Frame, Line
from tablemgr.cli.lines_view import Heading, Lines
from tablemgr.cli.words import printable

EVENTS_SHOWN: Final = 50
WIDTHS: Final = {
    "type": 13,
    "rows": 11,
    "changes": 11,
    "growth": 11,
    "used": 10,
    "memory": 10,
    "state": 7,
    "owner": 12,
    "heir": 14,
    "waiting": 7,
    "repairs": 7,
    "access": 9,
    "age": 5,
}
"""Characters that the columns take, so that they stay in place while figures change."""


class TablesScreen(Screen[None]):
    """All tables of the instance that are chosen, and what happened lately."""

    CSS = """
    #log { height: auto; max-height: 8; border-top: solid $primary; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter"),
        Binding("s", "sort(1)", "sort"),
        Binding("S", "sort(-1)", "sort by the column before", show=False),
        Binding("o", "reverse", "order"),
        Binding("space", "app.pause", "pause"),
        Binding("plus", "app.interval(2.0)", "look less often", show=False),
        Binding("minus", "app.interval(0.5)", "look more often", show=False),
        Binding("r", "app.look", "look now", show=False),
        Binding("escape", "all", "all tables", show=False),
    ]

    def __init__(self, choice: Choice, open_table: Callable[[str], None]) -> None:
        super().__init__()
        self.choice = choice
        self._open = open_table
        self._frame: Frame | None = None
        self._note = ""
        self._lines: list[Line] = []

    def compose(self) -> ComposeResult:
        """The instance, its tables, a line to type in, what happened."""
        yield Static(id="summary", classes="bold")
        yield Static(id="trouble", classes="trouble")
        yield Lines(id="tables")
        yield Input(placeholder="part of a name, or a pattern like job*", id="filter", value=self.choice.name)
        with VerticalScroll(id="log", can_focus=False):
            yield Static(id="events")
        yield Footer()

    def on_mount(self) -> None:
        """Keys go to the lines."""
        self._table.focus()

    @property
    def _table(self) -> Lines:
        return self.query_one(Lines)

    # -- drawing ------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame, note: str) -> None:
        """Draw a frame; note: what belongs at the end of the first line."""
        self._frame, self._note = frame, note
        self._draw_tables(frame)
        summary = render_frames.summary(frame, len(self._lines))
        self.query_one("#summary", Static).update(summary.append(f" · {note}"))
        self.query_one("#events", Static).update(render_frames.event_lines(frame.events, EVENTS_SHOWN))
        self.query_one("#log").display = bool(frame.events)
        self.tell("")

    def tell(self, trouble: str) -> None:
        """Say why there is no newer frame; "": there is."""
        line = self.query_one("#trouble", Static)
        line.update(Text(trouble))
        line.display = bool(trouble)

    def _draw_tables(self, frame: Frame) -> None:
        """The cursor stays on its table as long as that is there."""
        selected = self.selected
        self._lines = lines = self.choice.of(frame.lines)
        names = [line.info.name for line in lines]
        cursor = names.index(selected) if selected in names else self._table.cursor
        name_width = min(render_frames.NAME_WIDTH, max((len(printable(name)) for name in names), default=0))
        headings = [self._heading(name, name_width if name == "name" else WIDTHS[name]) for name in COLUMNS]

        def cells(index: int) -> Sequence[Text]:
            return list(render_frames.cells(lines[index], frame.manager, frame.when).values())

        self._table.draw(headings, len(lines), cells, cursor)

    def _heading(self, name: str, width: int) -> Heading:
        mark = " ▼" if COLUMNS[name].largest_first != self.choice.reverse else " ▲"
        text = render_frames.HEADINGS[name] + (mark if name == self.choice.column else "")
        justify: JustifyMethod = "right" if name in render_frames.RIGHT else "left"
        return Heading(name, Text(text, justify=justify), max(width, len(render_frames.HEADINGS[name]) + 2))

    @property
    def selected(self) -> str | None:
        """The name of the table that the cursor is on; None: there is none."""
        cursor = self._table.cursor
        return self._lines[cursor].info.name if cursor < len(self._lines) else None

    def _choose(self, choice: Choice) -> None:
        """Other lines, or another order."""
        self.choice = choice
        if self._frame is not None:
            self.show(self._frame, self._note)

    # -- keys ---------------------------------------------------------------------------------------------------------

    def action_sort(self, step: int) -> None:
        """Sort by the next column, or the one before."""
        names = list(COLUMNS)
        name = names[(names.index(self.choice.column) + step) % len(names)]
        self._choose(dataclasses.replace(self.choice, column=name, reverse=False))

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._choose(dataclasses.replace(self.choice, reverse=not self.choice.reverse))

    def on_lines_heading_clicked(self, event: Lines.HeadingClicked) -> None:
        """A click sorts by that column, a second one the other way round."""
        if event.key == self.choice.column:
            self.action_reverse()
        else:
            self._choose(dataclasses.replace(self.choice, column=event.key, reverse=False))

    def action_filter(self) -> None:
        """Type a name."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Only those tables, while it is being typed."""
        if event.value != self.choice.name:
            self._choose(dataclasses.replace(self.choice, name=event.value))

    def on_input_submitted(self) -> None:
        """Back to the tables."""
        self.query_one("#filter", Input).display = False
        self._table.focus()

    def action_all(self) -> None:
        """All tables again."""
        self.query_one("#filter", Input).value = ""
        self.on_input_submitted()

    def on_lines_opened(self, event: Lines.Opened) -> None:
        """The rows of this table."""
        self._open(self._lines[event.index].info.name)
