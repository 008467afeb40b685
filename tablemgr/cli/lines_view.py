# SPDX-License-Identifier: Apache-2.0
"""A list of lines in columns, of which only those that are seen are ever made: thousands of them cost no more than a
screenful. (Textual's DataTable renders every cell by itself.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

_GAP = 2  # blanks between two columns
_SIDEWAYS = 8  # characters by which the arrow keys move sideways


@dataclass(frozen=True, slots=True)
class Heading:
    """A column: its key, what stands over it, how many characters wide it is."""

    key: str
    text: Text
    width: int


class Lines(ScrollView, can_focus=True):
    """Lines under headings, with a cursor on one of them. The first column stays where it is when the rest moves."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--headings", "lines--cursor"}
    DEFAULT_CSS = """
    Lines { height: 1fr; overflow: auto auto; }
    Lines > .lines--headings { background: $panel; text-style: bold; }
    Lines > .lines--cursor { background: $panel; text-style: bold; }
    Lines:focus > .lines--cursor { background: $primary; color: $text; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move_pages(-1)", show=False),
        Binding("pagedown", "move_pages(1)", show=False),
        Binding("home", "move(-1000000000)", show=False),
        Binding("end", "move(1000000000)", show=False),
        Binding("left", f"sideways(-{_SIDEWAYS})", show=False),
        Binding("right", f"sideways({_SIDEWAYS})", show=False),
        Binding("enter", "open", "rows"),
    ]

    cursor: reactive[int] = reactive(0)

    class Opened(Message):
        """Enter, or a double click, on the line at `index`."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    class HeadingClicked(Message):
        """A click on the heading of the column `key`."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._headings: Sequence[Heading] = ()
        self._count = 0
        self._cells: Callable[[int], Sequence[Text]] = lambda index: ()

    def draw(
        self, headings: Sequence[Heading], count: int, cells: Callable[[int], Sequence[Text]], cursor: int
    ) -> None:
        """Show `count` lines; cells gives those of one line, in the order of the headings, whenever it is seen."""
        self._headings, self._count, self._cells = headings, count, cells
        width = sum(heading.width + _GAP for heading in headings)
        self.virtual_size = Size(width, count + 1)
        self.cursor = max(0, min(cursor, count - 1))
        self.refresh()

    # -- drawing ------------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the headings, or what has been scrolled to."""
        x, top = self.scroll_offset
        width, index = self.size.width, top + y - 1
        if y == 0:
            strip = self._strip([heading.text for heading in self._headings], x)
            return self._filled(strip, width, self.get_component_rich_style("lines--headings"))
        if index >= self._count:
            return Strip.blank(width, self.rich_style)
        is_cursor = index == self.cursor
        style = self.get_component_rich_style("lines--cursor") if is_cursor else self.rich_style
        return self._filled(self._strip(self._cells(index), x), width, style)

    def _strip(self, cells: Sequence[Text], x: int) -> Strip:
        line = Text(no_wrap=True, end="")
        for heading, cell in zip(self._headings, cells, strict=True):
            piece = cell.copy()
            piece.truncate(heading.width, overflow="ellipsis")
            piece.align("right" if cell.justify == "right" else "left", heading.width)
            line.append_text(piece).append(" " * _GAP)
        strip = Strip(line.render(self.app.console))
        fixed = self._headings[0].width + _GAP if self._headings else 0
        return Strip.join([strip.crop(0, fixed), strip.crop(fixed + x)])

    @staticmethod
    def _filled(strip: Strip, width: int, style: Style) -> Strip:
        return strip.crop(0, width).extend_cell_length(width).apply_style(style)

    def watch_cursor(self) -> None:
        """Keep the cursor in sight."""
        visible = max(1, self.scrollable_content_region.height - 1)
        if self.cursor < self.scroll_offset.y:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= self.scroll_offset.y + visible:
            self.scroll_to(y=self.cursor - visible + 1, animate=False, force=True)
        self.refresh()

    # -- keys and clicks ----------------------------------------------------------------------------------------------

    def action_move(self, lines: int) -> None:
        """The cursor so many lines down."""
        self.cursor = max(0, min(self.cursor + lines, self._count - 1))

    def action_move_pages(self, pages: int) -> None:
        """The cursor so many screenfuls down."""
        self.action_move(pages * max(1, self.scrollable_content_region.height - 2))

    def action_sideways(self, characters: int) -> None:
        """Other columns into sight."""
        self.scroll_to(x=self.scroll_offset.x + characters, animate=False)

    def action_open(self) -> None:
        """The line with the cursor was chosen."""
        if self._count:
            self.post_message(self.Opened(self.cursor))

    def on_click(self, event: events.Click) -> None:
        """On a heading or on a line."""
        if event.y == 0:
            at = event.x
            for number, heading in enumerate(self._headings):
                if at < heading.width + _GAP:
                    self.post_message(self.HeadingClicked(heading.key))
                    return
                at += (self.scroll_offset.x if number == 0 else 0) - heading.width - _GAP
        elif (index := self.scroll_offset.y + event.y - 1) < self._count:
            self.cursor = index
            if event.chain == 2:
                self.action_open()
