# SPDX-License-Identifier: Apache-2.0
"""What a table of each type has to do, in plain Python: lists of rows in a dict, nothing clever."""

from __future__ import annotations

import math
from typing import Any

Row = tuple[Any, ...]


def typed(value: Any) -> Any:
    """A stand-in that is equal only to that of a value of the same type, at every depth; all NaNs are one."""
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(map(typed, value))
    return type(value).__name__, repr(value)


def place(key: Any) -> tuple[Any, ...]:
    """Where a key stands in an ordered_set: a tuple that sorts as the key does, equal for keys that are one."""
    if key is None:
        return (0,)
    if isinstance(key, bool):
        return 1, key
    if isinstance(key, (int, float)):
        return (3,) if math.isnan(key) else (2, key)
    if isinstance(key, str):
        return 4, key
    if isinstance(key, bytes):
        return 5, key
    assert isinstance(key, tuple)
    return 6, tuple(map(place, key))


class Model:
    """A table of a type with the key at position 0; methods return what the table's should."""

    def __init__(self, table_type: str, rows: list[Row] | None = None) -> None:
        self.type = table_type
        self.bag = table_type in ("bag", "duplicate_bag")
        self._identity = place if table_type == "ordered_set" else typed
        self._rows: dict[Any, list[Row]] = {}
        for row in rows or ():
            self._rows.setdefault(self._identity(row[0]), []).append(row)

    def copy(self) -> Model:
        """Another one with the same rows."""
        return Model(self.type, self.rows())

    def rows(self) -> list[Row]:
        """All rows; in an ordered_set in their order, else those of a key together in the order of insertion."""
        identities = sorted(self._rows) if self.type == "ordered_set" else list(self._rows)
        return [row for identity in identities for row in self._rows[identity]]

    def same(self, key: Any, other: Any) -> bool:
        """Whether both are one key."""
        return bool(self._identity(key) == self._identity(other))

    def by_key(self, rows: list[Row]) -> dict[Any, list[Any]]:
        """Rows by their keys, in the order given, types told apart."""
        found: dict[Any, list[Any]] = {}
        for row in rows:
            found.setdefault(self._identity(row[0]), []).append(typed(row))
        return found

    def insert(self, rows: list[Row]) -> None:
        """Each in its turn."""
        for row in rows:
            there = self._rows.setdefault(self._identity(row[0]), [])
            if not self.bag:
                there[:] = [row]
            elif self.type == "duplicate_bag" or typed(row) not in map(typed, there):
                there.append(row)

    def insert_new(self, rows: list[Row]) -> bool:
        """All, if none of the keys is there."""
        fresh = not any(self.lookup(row[0]) for row in rows)
        if fresh:
            self.insert(rows)
        return fresh

    def lookup(self, key: Any) -> list[Row]:
        """The rows of a key."""
        return list(self._rows.get(self._identity(key), ()))

    def take(self, key: Any) -> list[Row]:
        """lookup and delete."""
        return self._rows.pop(self._identity(key), [])

    def delete(self, key: Any) -> int:
        """How many went."""
        return len(self.take(key))

    def delete_object(self, row: Row) -> int:
        """All that are this very row."""
        there = self.take(row[0])
        kept = [other for other in there if typed(other) != typed(row)]
        if kept:
            self._rows[self._identity(row[0])] = kept
        return len(there) - len(kept)

    def delete_all(self) -> int:
        """How many went."""
        count = len(self.rows())
        self._rows.clear()
        return count

    def replace(self, row: Row) -> None:
        """Put a row in the place of the one with its key."""
        self._rows[self._identity(row[0])] = [row]

    def between(self, lo: Any, hi: Any) -> list[Row]:
        """The rows from lo on and before hi, None being no bound."""
        return [
            row
            for row in self.rows()
            if (lo is None or place(row[0]) >= place(lo)) and (hi is None or place(row[0]) < place(hi))
        ]

    def beside(self, key: Any, forward: bool) -> list[Row]:
        """The row after the place of a key, or before it, or none."""
        if forward:
            return [row for row in self.rows() if place(row[0]) > place(key)][:1]
        return [row for row in self.rows() if place(row[0]) < place(key)][-1:]
