# SPDX-License-Identifier: Apache-2.0
"""The verbs on rows by their keys: `Rows`, a part of `Table`.

They are one line each: `self._binding` is the codec extension's view of the handle, which encodes, calls the core and
decodes in one step and raises by way of `Handle.fail`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, SupportsIndex

from tablemgr._codec import Binding

Row = tuple[Any, ...]

_MISSING: Final = object()  # no default: None is a value


class Rows:
    """What `Table` does with the rows of a key."""

    __slots__ = ()

    _binding: Binding

    # -- reading --------------------------------------------------------------------------------------------------

    def lookup(self, key: Any) -> list[Row]:
        """The rows with this key: a list of one row or none, of a bag in the order of their insertion.

        Raises TypeError, ValueError for what cannot be a key.
        """
        return self._binding.lookup(key)

    def lookup_element(self, key: Any, pos: SupportsIndex, default: Any = _MISSING) -> Any:
        """One element, at a position from 0, of the row with this key; default if there is no such row.

        Of a bag a list, of that element of each row.

        Raises KeyError if there is neither, IndexError for a position outside the row, negative ones included.
        """
        binding = self._binding
        return binding.lookup_element(key, pos) if default is _MISSING else binding.lookup_element(key, pos, default)

    def lookup_many(self, keys: Iterable[Any]) -> list[list[Row]]:
        """What lookup says for each key, in their order, in one call of the core; each row is of its own moment."""
        return self._binding.lookup_many(keys)

    def __contains__(self, key: Any) -> bool:
        return self._binding.contains(key)

    def __len__(self) -> int:
        return self._binding.length()

    def __bool__(self) -> bool:
        return True

    # -- writing --------------------------------------------------------------------------------------------------

    def insert(self, rows: Row | list[Row]) -> None:
        """Put in a row, or a list of rows, in place of those with the same keys; in a bag beside them.

        A row that a `bag` has already keeps its place; to find that out it is compared with all rows of its key.

        A list is one change: others see all of it or nothing, also if this process is killed. Of rows with the same key
        in one list the last one counts. Raises TypeError for what is not a tuple or a list of tuples or has a value of
        an unsupported type, ValueError for a row without an element at keypos or a key over 64 KiB, TableFullError.
        """
        return self._binding.insert(rows)

    def insert_new(self, rows: Row | list[Row]) -> bool:
        """insert, unless the table has a row with one of the keys: then nothing is done and False is returned."""
        return self._binding.insert_new(rows)

    def take(self, key: Any) -> list[Row]:
        """The rows with this key, which are removed in the same step: of several takers one gets them."""
        return self._binding.take(key)

    def delete(self, key: Any) -> int:
        """Remove the rows with this key. Returns how many there were."""
        return self._binding.delete(key)

    def delete_many(self, keys: Iterable[Any]) -> int:
        """delete for each key in one call of the core, each atomic by itself. Returns how many rows there were."""
        return self._binding.delete_many(keys)

    def delete_object(self, row: Row) -> int:
        """Remove this very row, types included. Returns how many there were.

        In a bag the rows of the key that are newer are copied for it, which takes room.
        """
        return self._binding.delete_object(row)

    def delete_all(self) -> int:
        """Remove all rows in one step. Returns how many there were."""
        return self._binding.delete_all()

    def compare_and_swap(self, old_row: Row, new_row: Row) -> bool:
        """Put new_row in the place of old_row if that very row, types included, is there; says whether it was.

        Raises ValueError if the rows have different keys.
        """
        return self._binding.compare_and_swap(old_row, new_row)

    def update_counter(self, key: Any, op: Any, default: Any = _MISSING) -> Any:
        """Add to ints in the row with this key, in one step that loses no other writer's.

        op: n, added to the element after the key; (pos, n); (pos, n, threshold, reset): reset if the sum is over the
        threshold (n >= 0) or under it (n < 0); or a list of such tuples, done in order, all or nothing. default: a row
        that is put in first if there is none with this key. Returns the new value, or the list of them for a list.

        Raises KeyError without row and default, IndexError for a position outside the row, ValueError for that of the
        key, TypeError where the element or the increment is not an int (a bool is none).
        """
        binding = self._binding
        return binding.update_counter(key, op) if default is _MISSING else binding.update_counter(key, op, default)

    def update_element(self, key: Any, spec: Any, default: Any = _MISSING) -> bool:
        """Replace elements of the row with this key in one step.

        spec: (pos, value), or a list of those, done in order, all or nothing. default: a row that is put in first if
        there is none with this key. Returns False if there is neither.

        Raises IndexError for a position outside the row, ValueError for that of the key.
        """
        binding = self._binding
        return binding.update_element(key, spec) if default is _MISSING else binding.update_element(key, spec, default)
