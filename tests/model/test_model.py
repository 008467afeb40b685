# SPDX-License-Identifier: Apache-2.0
"""Random operations on a table against a dict that does the same; the table is checked after each."""

import uuid
from typing import Any

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import tablemgr as tm

KEYS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from(
        [None, True, False, 0.0, -0.0, 1.0, "", "k", "é" * 40, b"k", (), (1,), (1.0,), ("a", (None, 2**70))]
    ),
    st.text(max_size=3),
)
VALUES = st.one_of(
    st.integers(),
    st.binary(max_size=20),
    st.integers(0, 9000).map(lambda length: "x" * length),
    st.lists(st.integers(-5, 5), max_size=4),
)
COUNTS = st.one_of(st.integers(-3, 3), st.integers(-(2**70), 2**70))
ROW = st.tuples(KEYS, COUNTS, VALUES)


def typed(value: Any) -> Any:
    """A stand-in for a key that is equal only to that of the same value and type."""
    if isinstance(value, tuple):
        return tuple, tuple(typed(each) for each in value)
    return type(value), repr(value)


class TableMachine(RuleBasedStateMachine):
    """A public table of (key, count, value) rows, through two handles, and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tm.create(f"model-{uuid.uuid4().hex}", access="public")
        self.handles = [self.table, tm.attach(self.table.name)]
        self.turn = 0
        self.model: dict[Any, tuple[Any, ...]] = {}

    keys = Bundle("keys")

    @property
    def handle(self) -> tm.Table:
        """One handle and the other, in turn."""
        self.turn += 1
        return self.handles[self.turn % 2]

    @rule(target=keys, key=KEYS)
    def draw_key(self, key: Any) -> Any:
        return key

    @rule(target=keys, row=ROW)
    def insert(self, row: tuple[Any, ...]) -> Any:
        self.handle.insert(row)
        self.model[typed(row[0])] = row
        return row[0]

    @rule(rows=st.lists(ROW, max_size=30))
    def insert_list(self, rows: list[tuple[Any, ...]]) -> None:
        self.handle.insert(rows)
        self.model.update({typed(row[0]): row for row in rows})

    @rule(rows=st.lists(ROW, max_size=3))
    def insert_new(self, rows: list[tuple[Any, ...]]) -> None:
        fresh = not any(typed(row[0]) in self.model for row in rows)
        assert self.handle.insert_new(rows) is fresh
        if fresh:
            self.model.update({typed(row[0]): row for row in rows})

    @rule(key=keys)
    def lookup(self, key: Any) -> None:
        expected = [self.model[typed(key)]] if typed(key) in self.model else []
        assert self.handle.lookup(key) == expected
        assert (key in self.handle) is bool(expected)

    @rule(keys=st.lists(KEYS, max_size=20))
    def lookup_many(self, keys: list[Any]) -> None:
        found = self.handle.lookup_many(keys)
        assert found == [[self.model[typed(key)]] if typed(key) in self.model else [] for key in keys]

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        assert self.handle.delete(key) == (self.model.pop(typed(key), None) is not None)

    @rule(key=keys)
    def take(self, key: Any) -> None:
        row = self.model.pop(typed(key), None)
        assert self.handle.take(key) == ([] if row is None else [row])

    @rule(keys=st.lists(KEYS, max_size=20))
    def delete_many(self, keys: list[Any]) -> None:
        gone = {typed(key) for key in keys} & self.model.keys()
        assert self.handle.delete_many(keys) == len(gone)
        for key in gone:
            del self.model[key]

    @rule(key=keys, very=st.booleans())
    def delete_object(self, key: Any, very: bool) -> None:
        row = self.model.get(typed(key), (key, 0, "x"))
        if not very:
            row = (*row, "more")
        expected = very and typed(key) in self.model
        assert self.handle.delete_object(row) == expected
        if expected:
            del self.model[typed(key)]

    @rule(key=keys, row=ROW, very=st.booleans())
    def compare_and_swap(self, key: Any, row: tuple[Any, ...], very: bool) -> None:
        old = self.model.get(typed(key), (key, 0, "x"))
        if not very:
            old = (*old, "more")
        new = (key, *row[1:])
        expected = very and typed(key) in self.model
        assert self.handle.compare_and_swap(old, new) is expected
        if expected:
            self.model[typed(key)] = new

    @rule(key=keys, n=COUNTS, with_default=st.booleans())
    def update_counter(self, key: Any, n: int, with_default: bool) -> None:
        row = self.model.get(typed(key), (key, 7, "default") if with_default else None)
        try:
            result = self.handle.update_counter(key, n, *([(key, 7, "default")] if with_default else []))
        except KeyError:
            assert row is None
        else:
            assert row is not None
            assert result == row[1] + n
            self.model[typed(key)] = (row[0], row[1] + n, *row[2:])

    @rule(key=keys, value=VALUES, with_default=st.booleans())
    def update_element(self, key: Any, value: Any, with_default: bool) -> None:
        row = self.model.get(typed(key), (key, 7, "default") if with_default else None)
        done = self.handle.update_element(key, (2, value), *([(key, 7, "default")] if with_default else []))
        assert done is (row is not None)
        if row is not None:
            self.model[typed(key)] = (*row[:2], value)

    @rule(rows=st.lists(ROW, max_size=6), gone=st.lists(KEYS, max_size=4), counted=KEYS, fails=st.booleans())
    def atomic(self, rows: list[tuple[Any, ...]], gone: list[Any], counted: Any, fails: bool) -> None:
        new = dict(self.model)
        handle = self.handle
        try:
            with handle.atomic() as tx:
                tx.insert(rows)
                new.update({typed(row[0]): row for row in rows})
                for key in gone:
                    tx.delete(key)
                    new.pop(typed(key), None)
                tx.update_counter(counted, 5, (counted, 0, "counted"))
                row = new.get(typed(counted), (counted, 0, "counted"))
                new[typed(counted)] = (row[0], row[1] + 5, *row[2:])
                tx.insert_new((counted, "not new"))
                if fails:
                    tx.update_counter("no row has this key", 1)
        except KeyError:
            assert fails
        else:
            self.model = new

    @rule()
    def delete_all(self) -> None:
        assert self.handle.delete_all() == len(self.model)
        self.model.clear()

    @rule(key=keys)
    def walk_from(self, key: Any) -> None:
        following = self.handle.next(key)
        if following is not tm.END:
            assert typed(following) in self.model
            before = self.handle.prev(following)
            if typed(key) in self.model:
                assert typed(before) == typed(key)

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        assert len(self.handle) == len(self.model)
        seen = [(typed(row[0]), row) for row in self.handle]
        assert len(seen) == len(self.model)
        assert dict(seen) == self.model

    @invariant()
    def the_table_is_sound(self) -> None:
        assert self.handle.check() == []

    def teardown(self) -> None:
        self.table.drop()
        for handle in self.handles:
            handle.close()


TableMachine.TestCase.settings = hypothesis.settings(stateful_step_count=40)
TestTable = TableMachine.TestCase
TestTable.__doc__ = "The table does what the dict does, whatever is asked of it in whatever order."
