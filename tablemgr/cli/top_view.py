# SPDX-License-Identifier: Apache-2.0
"""The live view of `tablemgr top`, on Textual: the application, which has frames fetched and hands them to its screens.

It is given what fetches; nothing of the view fetches by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import ClassVar, Final

from textual.app import App
from textual.binding import Binding, BindingType
from textual.widgets import HelpPanel

from tablemgr.cli.exits import message_of
from tablemgr.cli.frames import Choice, Frame, Pager
from tablemgr.cli.rows_view import RowsScreen
from tablemgr.cli.tables_view import TablesScreen

INTERVAL_LEAST: Final = 0.1
INTERVAL_MOST: Final = 3600.0
SHARE: Final = 4  # looking may take the whole of a processor for one part in so many of the time


class TopApp(App[None]):
    """Looks every `interval` seconds, less often where a look takes long, and draws what it finds.

    look: fetches a frame; pager: makes, of a table's name and a pattern, what fetches its rows. Both are called in
    other threads, each for one call at a time."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "tablemgr top"
    CSS = """
    Screen { layout: vertical; }
    .bold { height: 1; text-style: bold; }
    .trouble { height: auto; color: $text-error; display: none; }
    Input { display: none; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("question_mark", "keys", "keys"),
    ]

    def __init__(
        self, look: Callable[[], Frame], pager: Callable[[str, str], Pager], choice: Choice, interval: float
    ) -> None:
        super().__init__()
        self._look, self._pager = look, pager
        self.interval = interval
        self.is_paused = False
        self.frame: Frame | None = None
        self._tables = TablesScreen(choice, self.open_table)
        self._wake = asyncio.Event()

    async def on_mount(self) -> None:
        """Show the tables and begin to look."""
        await self.push_screen(self._tables)
        self.run_worker(self._go_on_looking(), group="look")

    async def _go_on_looking(self) -> None:
        while True:
            started = time.monotonic()
            self._wake.clear()  # who asks from here on means another look
            try:
                self.frame = await asyncio.to_thread(self._look)
            except Exception as error:  # whatever it is: it is said, and the next look may find better
                self._tables.tell(message_of(error))
            else:
                self.draw()
            spent = time.monotonic() - started
            pause = None if self.is_paused else max(self.interval, (SHARE - 1) * spent)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    def draw(self) -> None:
        """The last frame once more, on every screen."""
        if self.frame is None:
            return
        note = "paused" if self.is_paused else f"every {self.interval:g} s"
        self._tables.show(self.frame, note)
        for screen in self.screen_stack:
            if isinstance(screen, RowsScreen):
                screen.show(self.frame)

    def open_table(self, name: str) -> None:
        """Show the rows of a table."""
        self.push_screen(RowsScreen(name, self._pager, self.frame))

    # -- keys ---------------------------------------------------------------------------------------------------------

    def action_look(self) -> None:
        """Look now."""
        self._wake.set()

    def action_pause(self) -> None:
        """No more looks, but those that are asked for; or go on."""
        self.is_paused = not self.is_paused
        self.draw()
        self._wake.set()

    def action_interval(self, factor: float) -> None:
        """Look more or less often."""
        self.interval = round(min(INTERVAL_MOST, max(INTERVAL_LEAST, self.interval * factor)), 3)
        self.draw()
        self._wake.set()

    def action_keys(self) -> None:
        """The list of keys, or away with it."""
        if self.screen.query(HelpPanel):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()
