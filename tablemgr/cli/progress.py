# SPDX-License-Identifier: Apache-2.0
"""A bar on standard error for what takes a while, if a person is there to see it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def rows_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with the rows done and the rows expected; without a terminal it does nothing."""
    out = Console(stderr=True, highlight=False)
    if not out.is_terminal:
        yield lambda done, expected: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, expected: bar.update(task, completed=done, total=expected)
