# SPDX-License-Identifier: Apache-2.0
"""The verbs that go through a table in the order of its keys: `Walking`, a part of `Table`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, SupportsIndex

from tablemgr._codec import Binding
from tablemgr._ffi import Handle
from tablemgr.ends import END, End
from tablemgr.errors import Status
from tablemgr.options import whole

Row = tuple[Any, ...]


class Walking:
    """How `Table` is walked: all of it, from key to key, or over a range of keys."""

    __slots__ = ()

    _binding: Binding
    _handle: Handle
    _keypos: int
    _type: str

    def __iter__(self) -> Iterator[Row]:
        """All rows, in the table's own order, while others write: each that is there throughout comes exactly once."""
        return self._binding.scan()

    def first(self) -> Any:
        """The first key in the table's own order, or END. The order is that of iteration."""
        return self._key(self._binding.step(1))

    def last(self) -> Any:
        """The last key in the table's own order, or END."""
        return self._key(self._binding.step(-1))

    def next(self, key: Any) -> Any:
        """The key after this one, or END. The key has its place in the order also if it is not in the table."""
        return self._key(self._binding.step(1, key))

    def prev(self, key: Any) -> Any:
        """The key before this one, or END. The key has its place in the order also if it is not in the table."""
        return self._key(self._binding.step(-1, key))

    def first_lookup(self) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the first key, or END."""
        return self._key_and_rows(self._binding.step_rows(1))

    def last_lookup(self) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the last key, or END."""
        return self._key_and_rows(self._binding.step_rows(-1))

    def next_lookup(self, key: Any) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the key after this one, or END."""
        return self._key_and_rows(self._binding.step_rows(1, key))

    def prev_lookup(self, key: Any) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the key before this one, or END."""
        return self._key_and_rows(self._binding.step_rows(-1, key))

    def range(
        self, lo: Any = None, hi: Any = None, *, reverse: bool = False, limit: SupportsIndex | None = None
    ) -> Iterator[Row]:
        """The rows of an ordered_set with lo <= key < hi, in the order of their keys, while others write.

        lo, hi: bounds, which need not be keys of the table; None: no bound. reverse: from the end. limit: at most so
        many rows. Each row that is there throughout comes exactly once. Raises TableTypeError for other types of
        table, TypeError, ValueError.
        """
        if self._type == "ordered_set" and (limit is None or (type(limit) is int and 0 <= limit <= sys.maxsize)):
            return self._binding.range(lo, hi, reverse, limit)
        status = self._handle.admits(write=False)
        if status == Status.OK and self._type != "ordered_set":
            status = Status.OPERATION
        if status != Status.OK:
            self._handle.fail(status, "range")
        try:
            rows = 0 if limit is None else whole(limit, "limit")
            if rows < 0:
                raise ValueError(f"limit must be a number of rows from 0 up, not {rows}")
        except (TypeError, ValueError) as error:
            self._handle.blame("range", error)
        return self._binding.range(lo, hi, reverse, min(rows, sys.maxsize))

    def _key(self, row: Row | None) -> Any:
        return END if row is None else row[self._keypos]

    def _key_and_rows(self, rows: list[Row] | None) -> tuple[Any, list[Row]] | End:
        return END if rows is None else (rows[0][self._keypos], rows)
