# SPDX-License-Identifier: Apache-2.0
"""The rows of a table page by page, forwards and back, for `top`. Fetches, and never renders.

No handle is kept between two pages: a table that is dropped while somebody looks at it is given back at once."""

from __future__ import annotations

from typing import Any

from tablemgr.cli import clauses
from tablemgr.cli.exits import NotFoundError, RefusedError, UsageError, message_of
from tablemgr.cli.frames import RowsPage
from tablemgr.cli.opening import attach
from tablemgr.ends import END
from tablemgr.errors import TableError

PAGE_ROWS = 200


class RowPages:
    """Pages of the rows that match a pattern, as `show --match` takes it; "": all rows.

    Where a page begins is remembered, not what was on it, so going back shows the rows as they are then. Every method
    returns a page: what keeps it from having rows is its `trouble`. For one thread at a time."""

    def __init__(self, table: str, instance: str, pattern: str = "", page_rows: int = PAGE_ROWS) -> None:
        self.table = table
        self.pattern = pattern.strip()
        self._instance = instance
        self._page_rows = page_rows
        self._starts: list[Any] = [None]  # what select() gave to go on with; of page 0 nothing
        self._number = 0

    def here(self) -> RowsPage:
        """The present page anew."""
        return self._fetch(self._number)

    def forward(self) -> RowsPage:
        """The next page, if there is one."""
        return self._fetch(min(self._number + 1, len(self._starts) - 1))

    def back(self) -> RowsPage:
        """The page before, if there is one."""
        return self._fetch(max(self._number - 1, 0))

    def _fetch(self, number: int) -> RowsPage:
        try:
            query = clauses.query(clauses.pattern(self.pattern or "_"))
            with attach(self.table, self._instance, readonly=True) as table:
                start = self._starts[number]
                if start is None:
                    rows, further = table.select(query, limit=self._page_rows)
                else:
                    rows, further = table.select(start)
                keypos, total = table.keypos, len(table)
        except (TableError, NotFoundError, RefusedError, UsageError, OSError, MemoryError) as error:
            return RowsPage(self.table, self.pattern, number=self._number, trouble=message_of(error))
        self._number = number
        del self._starts[number + 1 :]
        if further is not END:
            self._starts.append(further)
        return RowsPage(self.table, self.pattern, tuple(rows), number, keypos, total, further is END)
