# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: a progress bar and lines on a terminal, plain lines elsewhere.

Nothing here runs in a thread of its own: the demo forks, and a child must not inherit a lock that is held."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from tablemgr.cli.answers import Tables
from tablemgr.cli.render import tables_grid
from tablemgr.cli.words import printable
from tablemgr.segments import TableInfo

STEPS = 10
REDRAW_SECONDS = 0.1


class Screen:
    """Draws to a console; as a context manager it keeps a progress bar at the bottom where there is a terminal."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
            auto_refresh=False,
            disable=not out.is_terminal,
        )
        self._task = self._progress.add_task("", start=False, total=None, visible=False)
        self._total = 0
        self._step = 0
        self._drawn = 0.0

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str, style: str = "") -> None:
        """A line."""
        self._out.print(Text(text, style=style), soft_wrap=True)

    def heading(self, text: str) -> None:
        """A line that begins a part."""
        self.say("")
        self.say(text, "bold")

    def begin(self, what: str, total: int) -> None:
        """A new progress bar, of `total` files."""
        self._total, self._step = total, 0
        self._progress.reset(self._task, description=what, total=total, visible=True)

    def progress(self, done: int) -> None:
        """How many files are done."""
        now = time.monotonic()
        refresh = done == self._total or now - self._drawn >= REDRAW_SECONDS
        self._drawn = now if refresh else self._drawn
        self._progress.update(self._task, completed=done, refresh=refresh)
        step = done * STEPS // max(1, self._total)
        if not self._out.is_terminal and step > self._step:
            self.say(f"  {done:,} of {self._total:,} files")
        self._step = max(step, self._step)

    def end(self) -> None:
        """The bar has served."""
        self._progress.update(self._task, visible=False, refresh=True)

    def kill(self, number: int, who: str, pid: int, successor: int, seconds: float, what: str) -> None:
        """A kill that has been made good: who, and how long until its successor was there."""
        self.say(
            f"  kill {number:>3}: {who:<9} pid {pid:<7} -> pid {successor:<7} {what} after {seconds * 1000:7.1f} ms"
        )

    def commonest(self, counts: Counter[str], n: int = 20) -> None:
        """The commonest identifiers, with bars."""
        best = counts.most_common(n)
        grid = Grid(box=None, show_header=False, pad_edge=False)
        grid.add_column(justify="right")
        grid.add_column()
        grid.add_column(justify="right")
        grid.add_column()
        for place, (word, count) in enumerate(best, 1):
            bar = "█" * max(1, round(30 * count / best[0][1]))
            grid.add_row(f"{place}", Text(printable(word)), f"{count:,}", Text(bar, style="cyan"))
        self._out.print(grid)

    def comparison(self, lines: Sequence[tuple[str, float, float]]) -> None:
        """Ways to do the work: seconds on the sample, and what that makes of all of it."""
        grid = Grid(box=None, header_style="dim", pad_edge=False)
        grid.add_column("")
        grid.add_column("on the sample", justify="right")
        grid.add_column("all of it, scaled", justify="right")
        for text, sample, scaled in lines:
            grid.add_row(text, f"{sample:.2f} s", f"{scaled:.1f} s")
        self._out.print(grid)

    def tables(self, instance: str, tables: Sequence[TableInfo]) -> None:
        """The tables of the instance, as `tablemgr list` shows them."""
        self._out.print(tables_grid(Tables(instance, tuple(tables)), self._out.width))
