# SPDX-License-Identifier: Apache-2.0
"""Random operations on a table of each type and on its model; the table is checked after each."""

import math
import uuid
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

import tablemgr as tm
from tablemgr.segments import TYPES
from tests.model.model import Model, Row, place, typed

pytestmark = pytest.mark.timeout(900)  # seconds: a failure is made small before it is told, which takes minutes

ATOMS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([None, True, False, 0.0, -0.0, 1.0, 2.5, math.nan, "", "k", "é" * 40, b"k", 2**53, 2.0**53, 2**70]),
    st.text(max_size=3),
)
KEYS = st.one_of(ATOMS, st.recursive(ATOMS, lambda parts: st.lists(parts, max_size=3).map(tuple), max_leaves=4))
VALUES = st.one_of(
    st.integers(),
    st.binary(max_size=20),
    st.integers(0, 9000).map(lambda length: "x" * length),
    st.lists(st.integers(-5, 5), max_size=4),
)
COUNTS = st.one_of(st.integers(-3, 3), st.integers(-(2**70), 2**70))
ROW = st.tuples(KEYS, COUNTS, VALUES)


def same_rows(found: list[Row], expected: list[Row]) -> bool:
    """Whether both are the same rows in the same order, types and NaNs included."""
    return [typed(row) for row in found] == [typed(row) for row in expected]


class TableMachine(RuleBasedStateMachine):
    """A public table of (key, count, value) rows, through two handles, and its model."""

    table_type = "set"

    def __init__(self) -> None:
        super().__init__()
        self.table = tm.create(f"model-{uuid.uuid4().hex}", type=self.table_type, access="public")
        self.handles = [self.table, tm.attach(self.table.name)]
        self.turn = 0
        self.model = Model(self.table_type)

    keys = Bundle("keys")

    @property
    def handle(self) -> tm.Table:
        """One handle and the other, in turn."""
        self.turn += 1
        return self.handles[self.turn % 2]

    def known_row(self, key: Any, very: bool) -> Row:
        """The newest row with a key, or, unless `very`, one that is nearly that."""
        row = (self.model.lookup(key) or [(key, 0, "x")])[-1]
        return row if very else (*row, "more")

    @rule(target=keys, key=KEYS)
    def draw_key(self, key: Any) -> Any:
        return key

    @rule(target=keys, row=ROW)
    def insert(self, row: Row) -> Any:
        self.handle.insert(row)
        self.model.insert([row])
        return row[0]

    @rule(key=keys, row=ROW, times=st.integers(1, 3))
    def insert_beside(self, key: Any, row: Row, times: int) -> None:
        row = (key, *row[1:])
        self.handle.insert([row] * times)
        self.model.insert([row] * times)

    @rule(rows=st.lists(ROW, max_size=30))
    def insert_list(self, rows: list[Row]) -> None:
        self.handle.insert(rows)
        self.model.insert(rows)

    @rule(first=st.integers(0, 400), step=st.sampled_from([1, 2, 7, 0.5]), count=st.integers(30, 200))
    def insert_many(self, first: int, step: float, count: int) -> None:
        rows = [(first + number * step, number, "many") for number in range(count)]
        self.handle.insert(rows)
        self.model.insert(rows)

    @rule(first=st.integers(0, 400), count=st.integers(1, 400))
    def delete_a_stretch(self, first: int, count: int) -> None:
        keys = range(first, first + count)
        assert self.handle.delete_many(keys) == sum(self.model.delete(key) for key in keys)

    @rule(rows=st.lists(ROW, max_size=3))
    def insert_new(self, rows: list[Row]) -> None:
        assert self.handle.insert_new(rows) is self.model.insert_new(rows)

    @rule(key=keys)
    def lookup(self, key: Any) -> None:
        expected = self.model.lookup(key)
        assert same_rows(self.handle.lookup(key), expected)
        assert (key in self.handle) is bool(expected)
        if expected:
            values = [row[2] for row in expected]
            assert self.handle.lookup_element(key, 2) == (values if self.model.bag else values[0])

    @rule(keys=st.lists(KEYS, max_size=20))
    def lookup_many(self, keys: list[Any]) -> None:
        for found, key in zip(self.handle.lookup_many(keys), keys, strict=True):
            assert same_rows(found, self.model.lookup(key))

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        assert self.handle.delete(key) == self.model.delete(key)

    @rule(key=keys)
    def take(self, key: Any) -> None:
        assert same_rows(self.handle.take(key), self.model.take(key))

    @rule(keys=st.lists(KEYS, max_size=20))
    def delete_many(self, keys: list[Any]) -> None:
        assert self.handle.delete_many(keys) == sum(self.model.delete(key) for key in keys)

    @rule(key=keys, very=st.booleans())
    def delete_object(self, key: Any, very: bool) -> None:
        row = self.known_row(key, very)
        assert self.handle.delete_object(row) == self.model.delete_object(row)

    @rule(key=keys, row=ROW, very=st.booleans())
    def compare_and_swap(self, key: Any, row: Row, very: bool) -> None:
        old, new = self.known_row(key, very), (key, *row[1:])
        if self.model.bag:
            with pytest.raises(tm.TableTypeError):
                self.handle.compare_and_swap(old, new)
            return
        expected = [typed(old)] == [typed(row) for row in self.model.lookup(key)]
        assert self.handle.compare_and_swap(old, new) is expected
        if expected:
            self.model.replace(new)

    @rule(key=keys, n=COUNTS, with_default=st.booleans())
    def update_counter(self, key: Any, n: int, with_default: bool) -> None:
        default = [(key, 7, "default")] if with_default else []
        if self.model.bag:
            with pytest.raises(tm.TableTypeError):
                self.handle.update_counter(key, n, *default)
            return
        there = self.model.lookup(key) or default
        if not there:
            with pytest.raises(KeyError):
                self.handle.update_counter(key, n)
            return
        [row] = there
        assert self.handle.update_counter(key, n, *default) == row[1] + n
        self.model.replace((row[0], row[1] + n, *row[2:]))

    @rule(key=keys, value=VALUES, with_default=st.booleans())
    def update_element(self, key: Any, value: Any, with_default: bool) -> None:
        default = [(key, 7, "default")] if with_default else []
        if self.model.bag:
            with pytest.raises(tm.TableTypeError):
                self.handle.update_element(key, (2, value), *default)
            return
        there = self.model.lookup(key) or default
        assert self.handle.update_element(key, (2, value), *default) is bool(there)
        for row in there:
            self.model.replace((*row[:2], value))

    @rule(rows=st.lists(ROW, max_size=6), gone=st.lists(KEYS, max_size=4), key=keys, fails=st.booleans())
    def atomic(self, rows: list[Row], gone: list[Any], key: Any, fails: bool) -> None:
        new = self.model.copy()
        try:
            with self.handle.atomic() as tx:
                tx.insert(rows)
                new.insert(rows)
                for other in gone:
                    tx.delete(other)
                    new.delete(other)
                for row in new.lookup(key)[-1:]:
                    tx.delete_object(row)
                    new.delete_object(row)
                tx.insert_new((key, 1, "new"))
                new.insert_new([(key, 1, "new")])
                if not self.model.bag:
                    tx.update_counter(key, 5)
                    [row] = new.lookup(key)
                    new.replace((row[0], row[1] + 5, *row[2:]))
                tx.insert((key, 2, "again"))
                new.insert([(key, 2, "again")])
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        else:
            self.model = new

    @precondition(lambda self: not self.model.bag)
    @rule(rows=st.lists(ROW, min_size=1, max_size=6), key=KEYS)
    def atomic_that_fails_at_its_end(self, rows: list[Row], key: Any) -> None:
        with pytest.raises(KeyError), self.handle.atomic() as tx:
            tx.insert(rows)
            tx.delete(key)
            tx.update_counter(key, 1)

    @rule()
    def delete_all(self) -> None:
        assert self.handle.delete_all() == self.model.delete_all()

    @rule(key=keys)
    def walk_from(self, key: Any) -> None:
        following = self.handle.next(key)
        if following is not tm.END:
            assert self.model.lookup(following)
            before = self.handle.prev(following)
            if self.model.lookup(key):
                assert self.model.same(before, key)

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        rows, expected = list(self.handle), self.model.rows()
        assert len(self.handle) == len(expected)
        if self.table_type == "ordered_set":
            assert same_rows(rows, expected)
        else:
            assert len(rows) == len(expected)
            assert self.model.by_key(rows) == self.model.by_key(expected)

    @invariant()
    def the_table_is_sound(self) -> None:
        assert self.handle.check() == []

    def teardown(self) -> None:
        self.table.drop()
        for handle in self.handles:
            handle.close()


class OrderedSetMachine(TableMachine):
    """And what only an ordered_set can: steps from and ranges between any keys."""

    table_type = "ordered_set"

    @rule(key=KEYS, forward=st.booleans())
    def step(self, key: Any, forward: bool) -> None:
        handle, rows = self.handle, self.model.beside(key, forward)
        found = handle.next(key) if forward else handle.prev(key)
        assert typed(found) == typed(rows[0][0] if rows else tm.END)
        both = handle.next_lookup(key) if forward else handle.prev_lookup(key)
        assert typed(both) == typed((rows[0][0], rows) if rows else tm.END)

    @rule()
    def ends(self) -> None:
        rows = self.model.rows()
        assert typed(self.handle.first()) == typed(rows[0][0] if rows else tm.END)
        assert typed(self.handle.last()) == typed(rows[-1][0] if rows else tm.END)

    @rule(lo=KEYS, hi=KEYS, reverse=st.booleans(), limit=st.one_of(st.none(), st.integers(0, 40)))
    def range(self, lo: Any, hi: Any, reverse: bool, limit: int | None) -> None:
        expected = self.model.between(lo, hi)[:: -1 if reverse else 1][:limit]
        assert same_rows(list(self.handle.range(lo, hi, reverse=reverse, limit=limit)), expected)
        if lo is not None and hi is not None and place(lo) >= place(hi):
            assert expected == []


class BagMachine(TableMachine):
    table_type = "bag"


class DuplicateBagMachine(TableMachine):
    table_type = "duplicate_bag"


def case_of(machine: type[TableMachine]) -> Any:
    """The test of a machine."""
    case = machine.TestCase
    case.settings = hypothesis.settings(stateful_step_count=40, max_examples=hypothesis.settings().max_examples // 2)
    case.__doc__ = f"A {machine.table_type} does what its model does, whatever is asked of it in whatever order."
    return case


TestSet = case_of(TableMachine)
TestOrderedSet = case_of(OrderedSetMachine)
if "bag" in TYPES:
    TestBag = case_of(BagMachine)
    TestDuplicateBag = case_of(DuplicateBagMachine)
