# SPDX-License-Identifier: Apache-2.0
"""bag and duplicate_bag: any number of rows per key, in the order of their insertion."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import in_child

Model = dict[Any, list[tuple[Any, ...]]]

TYPES = ["bag", "duplicate_bag"]


@pytest.fixture(params=TYPES)
def table(request: pytest.FixtureRequest) -> tm.Table:
    """An empty table of either type that everybody may write."""
    return tm.create("t", type=request.param, access="public")


@pytest.fixture
def bag() -> tm.Table:
    """An empty bag that everybody may write."""
    return tm.create("b", type="bag", access="public")


@pytest.fixture
def duplicates() -> tm.Table:
    """An empty duplicate_bag that everybody may write."""
    return tm.create("d", type="duplicate_bag", access="public")


def typed(row: tuple[Any, ...]) -> list[tuple[type, Any]]:
    """A row of flat values with their types."""
    return [(type(value), value) for value in row]


# -- rows of one key --------------------------------------------------------------------------------------------------


def test_a_key_has_its_rows_in_the_order_of_their_insertion(table: tm.Table) -> None:
    """One by one or as a list; each row counts; other keys are other keys, type-strictly."""
    table.insert(("k", 1))
    table.insert([("k", 3), ("j", 0), ("k", 2)])
    table.insert((1, "int"))
    table.insert([(1.0, "float"), (True, "bool")])
    assert table.lookup("k") == [("k", 1), ("k", 3), ("k", 2)]
    assert table.lookup("j") == [("j", 0)]
    assert table.lookup("absent") == []
    assert [table.lookup(key) for key in (1, 1.0, True)] == [[(1, "int")], [(1.0, "float")], [(True, "bool")]]
    assert len(table) == 7
    assert "k" in table
    assert "absent" not in table
    assert table.info().type in TYPES


def test_a_bag_takes_the_same_row_once_and_keeps_its_place(bag: tm.Table) -> None:
    """Also within one list, and within one block."""
    bag.insert([("k", 1), ("k", 2), ("k", 1)])
    bag.insert(("k", 1))
    bag.insert([("k", 2), ("k", 3), ("k", 1)])
    with bag.atomic() as tx:
        tx.insert(("k", 2))
        tx.insert([("k", 4), ("k", 4)])
    assert bag.lookup("k") == [("k", 1), ("k", 2), ("k", 3), ("k", 4)]
    assert len(bag) == 4


def test_a_duplicate_bag_takes_the_same_row_again(duplicates: tm.Table) -> None:
    """Each time it is inserted there is one more."""
    duplicates.insert([("k", 1), ("k", 2), ("k", 1)])
    duplicates.insert(("k", 1))
    assert duplicates.lookup("k") == [("k", 1), ("k", 2), ("k", 1), ("k", 1)]
    assert len(duplicates) == 4


def test_rows_are_the_same_only_with_the_same_types(bag: tm.Table) -> None:
    """1, 1.0 and True, tuple and list, 0.0 and -0.0 make different rows; NaN is itself."""
    rows: list[tuple[Any, ...]] = [
        ("k", value) for value in (1, 1.0, True, (1,), [1], 0.0, -0.0, "", b"", None, float("nan"))
    ]
    bag.insert(rows)
    bag.insert(rows)
    assert [repr(row) for row in bag.lookup("k")] == [repr(row) for row in rows]
    assert bag.delete_object(("k", 1.0)) == 1
    assert bag.delete_object(("k", float("nan"))) == 1
    assert [typed(row) for row in bag.lookup("k")[:2]] == [typed(("k", 1)), typed(("k", True))]
    assert len(bag) == 9


def test_insert_new_asks_for_the_key(table: tm.Table) -> None:
    """Any row with the key is in the way; a list goes in whole or not at all, with rows of one key if it may."""
    assert table.insert_new(("k", 1)) is True
    assert table.insert_new(("k", 2)) is False
    assert table.insert_new([("a", 1), ("a", 2), ("b", 1)]) is True
    assert table.insert_new([("c", 1), ("a", 3)]) is False
    assert table.lookup("a") == [("a", 1), ("a", 2)]
    assert "c" not in table
    with table.atomic() as tx:
        tx.insert_new(("k", 3))
        tx.insert_new([("d", 1), ("d", 2)])
        tx.insert_new([("e", 1), ("d", 3)])
    assert table.lookup("d") == [("d", 1), ("d", 2)]
    assert table.lookup("k") == [("k", 1)]
    assert "e" not in table


def test_lookup_element_gives_the_element_of_every_row(table: tm.Table) -> None:
    """A list in the order of the rows; a position that one of them has not is an IndexError."""
    table.insert([("k", 1, "x"), ("k", 2), ("k", 1, "y")])
    assert table.lookup_element("k", 1) == [1, 2, 1]
    assert table.lookup_element("k", 0) == ["k", "k", "k"]
    assert table.lookup_element("absent", 1, None) is None
    with pytest.raises(KeyError):
        table.lookup_element("absent", 1)
    for position in (2, -1, 10**30):
        with pytest.raises(IndexError):
            table.lookup_element("k", position)


def test_lookup_many_gives_the_rows_of_each_key(table: tm.Table) -> None:
    """In the order of the keys, none for those that are not there, also if the same key is asked for twice."""
    table.insert([(n % 50, n) for n in range(2000)])
    asked = [3, "absent", 49, 3, *range(50)]
    assert table.lookup_many(asked) == [table.lookup(key) for key in asked]
    assert [len(rows) for rows in table.lookup_many([3, "absent"])] == [40, 0]
    assert table.lookup_many([]) == []


def test_delete_and_take_remove_all_rows_of_a_key(table: tm.Table) -> None:
    """delete says how many, take gives them; delete_many adds up."""
    table.insert([(key, n) for key in "abc" for n in range(5)])
    assert table.delete("a") == 5
    assert table.delete("a") == 0
    assert table.take("b") == [("b", n) for n in range(5)]
    assert table.take("b") == []
    assert len(table) == 5
    table.insert([("d", 1), ("e", 1), ("e", 2)])
    assert table.delete_many(["c", "absent", "e", "e"]) == 7
    assert list(table) == [("d", 1)]
    assert table.check() == []


@pytest.mark.parametrize("gone", [0, 1, 5, 8, 9])
def test_delete_object_removes_one_row_of_a_bag_wherever_it_stands(bag: tm.Table, gone: int) -> None:
    """The others keep their order; put in again it comes last."""
    bag.insert([("k", n) for n in range(10)])
    before = list(bag.lookup("k"))
    assert bag.delete_object(("k", gone)) == 1
    assert bag.delete_object(("k", gone)) == 0
    assert bag.delete_object(("k", gone + 0.0)) == 0
    before.remove(("k", gone))
    assert bag.lookup("k") == before
    bag.insert(("k", gone))
    assert bag.lookup("k") == [*before, ("k", gone)]
    assert bag.check() == []


def test_delete_object_removes_every_copy_of_a_row(duplicates: tm.Table) -> None:
    """Among the newest, among the oldest, in between, and when there is nothing else."""
    for values in ([1, 2, 3, 3], [3, 3, 1, 2], [1, 3, 2, 3, 1], [3], [3, 3, 3], [1, 2]):
        duplicates.insert([("k", value) for value in values])
        assert duplicates.delete_object(("k", 3)) == values.count(3)
        assert [row[1] for row in duplicates.lookup("k")] == [value for value in values if value != 3]
        assert len(duplicates) == len(values) - values.count(3)
        assert duplicates.check() == []
        duplicates.delete("k")


@pytest.mark.parametrize(
    "act",
    [
        lambda table: table.update_counter("k", 1),
        lambda table: table.update_counter([], object()),
        lambda table: table.update_element("k", (1, 2), ("k", 0)),
        lambda table: table.update_element([], 1),
        lambda table: table.compare_and_swap(("k", 1), ("k", 2)),
        lambda table: table.compare_and_swap(("k", 1), ("other", 2)),
        lambda table: table.compare_and_swap(1, 2),
        lambda table: table.range(),
    ],
)
def test_what_needs_one_row_per_key_is_refused(table: tm.Table, act: Callable[[tm.Table], object]) -> None:
    """TableTypeError, whatever the arguments are, after what is wrong with the table itself."""
    table.insert(("k", 1))
    with pytest.raises(tm.TableTypeError, match="no such operation"):
        act(table)
    assert list(table) == [("k", 1)]
    table.close()
    with pytest.raises(tm.TableClosedError):
        act(table)


def test_an_update_in_a_block_is_refused_at_its_end(table: tm.Table) -> None:
    """And nothing of the block is done."""
    for verb, spec in (("update_counter", 1), ("update_element", (1, 2))):
        with pytest.raises(tm.TableTypeError), table.atomic() as tx:
            tx.insert(("k", 1))
            getattr(tx, verb)("k", spec)
    assert len(table) == 0
    assert table.check() == []


def _verbs_of_another_process(name: str) -> list[str]:
    refused = []
    with tm.attach(name) as table:
        for act in (
            lambda: table.insert(("k", 2)),
            lambda: table.delete("k"),
            lambda: table.update_counter("k", 1),
            lambda: table.delete_object(("k", 1)),
        ):
            try:
                act()
            except tm.AccessError:
                refused.append("access")
        assert table.lookup("k") == [("k", 1)]
    return refused


def test_access_comes_before_the_type() -> None:
    """Another process that may only read is told that, also for verbs that a bag has not."""
    table = tm.create("p", type="bag", access="protected")
    table.insert(("k", 1))
    assert in_child(_verbs_of_another_process, "p") == ["access"] * 4


def test_a_dict_needs_one_value_per_key(table: tm.Table) -> None:
    """A SharedDict on a bag is a TableMismatchError."""
    with pytest.raises(tm.TableMismatchError, match="a SharedDict needs"):
        tm.SharedDict(table.name)


def test_an_existing_table_of_another_type_is_not_handed_out(instance: str) -> None:
    """The types are four: each attaches as itself and pickles."""
    for kind in ("set", "ordered_set", *TYPES):
        table = tm.create(kind, type=kind)
        assert pickle.loads(pickle.dumps(table)).info().type == kind
    assert sorted(info.type for info in tm.tables()) == sorted(("set", "ordered_set", *TYPES))


def test_any_key_position(instance: str) -> None:
    """keypos works as in a set."""
    table = tm.create("t", type="bag", keypos=1)
    table.insert([(1, "k"), (2, "k"), (1, "k"), (3, "j")])
    assert table.lookup("k") == [(1, "k"), (2, "k")]
    assert table.lookup_element("k", 0) == [1, 2]
    assert table.delete_object((2, "k")) == 1
    with pytest.raises(ValueError, match="position"):
        table.insert((1,))


# -- walking ----------------------------------------------------------------------------------------------------------


def walk(table: tm.Table, forward: bool) -> Iterator[Any]:
    """All keys by single steps."""
    key = table.first() if forward else table.last()
    while key is not tm.END:
        yield key
        key = table.next(key) if forward else table.prev(key)


def test_iteration_gives_the_rows_of_a_key_together(table: tm.Table) -> None:
    """In their order; keys in the order of next, each once."""
    rows = [(n % 300, n) for n in range(3000)]
    random.Random(1).shuffle(rows)
    table.insert(rows)
    keys = list(walk(table, forward=True))
    assert sorted(keys) == list(range(300))
    assert list(walk(table, forward=False)) == keys[::-1]
    assert list(table) == [row for key in keys for row in rows if row[0] == key]


def test_the_lookup_forms_give_all_rows(table: tm.Table) -> None:
    """(key, rows) of each step, forwards and backwards."""
    table.insert([(n % 7, n) for n in range(70)])
    keys = list(walk(table, forward=True))
    assert table.first_lookup() == (keys[0], table.lookup(keys[0]))
    assert table.last_lookup() == (keys[-1], table.lookup(keys[-1]))
    for before, after in itertools.pairwise(keys):
        assert table.next_lookup(before) == (after, table.lookup(after))
        assert table.prev_lookup(after) == (before, table.lookup(before))
    assert len(table.lookup(keys[0])) == 10
    assert table.next_lookup(keys[-1]) is tm.END
    table.delete(keys[3])
    assert table.next_lookup(keys[3]) == (keys[4], table.lookup(keys[4]))


def test_a_walk_survives_what_it_deletes_and_inserts(table: tm.Table) -> None:
    """Keys that are there throughout come once with all their rows, while buckets split."""
    table.insert([(key, n) for key in range(200) for n in range(5)])
    seen: list[Any] = []
    key = table.first()
    while key is not tm.END:
        if isinstance(key, int):
            seen.append(key)
            assert table.delete(key) == 5
            table.insert([(f"new {key}", n) for n in range(20)])
        key = table.next(key)
    assert sorted(seen) == list(range(200))


# -- many rows --------------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_rows_of_one_key(duplicates: tm.Table) -> None:
    """As one list and one by one; looked up, walked and taken whole; nothing is left of them."""
    rows = [("k", n // 2) for n in range(100_000)]
    duplicates.insert(rows[:60_000])
    for row in rows[60_000:]:
        duplicates.insert(row)
    assert len(duplicates) == 100_000
    assert duplicates.lookup("k") == rows
    assert duplicates.check() == []
    assert list(duplicates) == rows
    assert duplicates.first_lookup() == ("k", rows)
    assert duplicates.delete_object(("k", 49_999)) == 2  # the newest
    assert duplicates.delete_object(("k", 0)) == 2  # the oldest
    assert duplicates.check() == []
    assert duplicates.take("k") == rows[2:-2]
    assert (len(duplicates), "k" in duplicates) == (0, False)
    assert duplicates.check() == []
    assert duplicates.info().bytes_used < 10_000


def test_a_long_list_of_a_bag(bag: tm.Table) -> None:
    """10,000 different rows of one key, inserted again without effect; 100,000 of 20,000 keys."""
    rows = [("k", n) for n in range(10_000)]
    bag.insert(rows)
    bag.insert(rows[5000:] + rows[:100])
    assert bag.lookup("k") == rows
    many = [(n % 20_000, n) for n in range(100_000)]
    bag.insert(many)
    assert len(bag) == 110_000
    assert bag.lookup(19_999) == [(19_999, n) for n in range(19_999, 100_000, 20_000)]
    assert bag.check() == []
    assert bag.delete_all() == 110_000
    assert bag.check() == []
    assert list(bag) == []


def test_lists_that_are_deleted_faster_than_they_are_freed(duplicates: tm.Table) -> None:
    """More long lists than there is room for on the to-do list; the memory serves again."""
    for turn in range(40):
        for key in range(12):
            duplicates.insert([(key, n) for n in range(300)])
        for key in range(12):
            assert duplicates.delete(key) == 300
        if turn == 3:
            reserved = duplicates.info().bytes_reserved
    assert duplicates.check() == []
    assert duplicates.info().bytes_reserved < 3 * reserved
    assert len(duplicates) == 0


def test_large_rows(table: tm.Table) -> None:
    """Rows of several hundred KiB among small ones, told apart by their last byte."""
    large = ["x" * 700_000 + end for end in "abc"]
    for value in (1, large[0], 2, large[1], large[2]):
        table.insert(("k", value))
    assert table.lookup_element("k", 1) == [1, large[0], 2, large[1], large[2]]
    assert table.delete_object(("k", large[0])) == 1
    assert table.check() == []
    assert table.lookup_element("k", 1) == [1, 2, large[1], large[2]]
    assert table.delete("k") == 4
    assert table.check() == []


def test_a_full_table_is_as_it_was(table: tm.Table) -> None:
    """A list, a row, and a delete_object that finds no room for the rows it would copy; then there is room again."""
    small = tm.create("small", type=table.info().type, access="public", max_bytes=600_000)
    wanted = [("k", n, "x" * 1000) for n in range(100)]
    small.insert(wanted)
    with pytest.raises(tm.TableFullError):
        small.insert([("k", n, "y" * 1000) for n in range(1000)])
    assert small.lookup("k") == wanted
    assert small.check() == []
    number = 100
    with pytest.raises(tm.TableFullError):
        while True:
            small.insert(("k", number, "x" * 1000))
            wanted.append(("k", number, "x" * 1000))
            number += 1
    assert small.lookup("k") == wanted
    with pytest.raises(tm.TableFullError):
        small.delete_object(wanted[0])
    assert small.lookup("k") == wanted
    assert small.check() == []
    assert small.delete_object(wanted[-1]) == 1
    assert small.delete("k") == len(wanted) - 1
    small.insert(wanted[:200])
    assert small.lookup("k") == wanted[:200]


# -- atomic blocks ----------------------------------------------------------------------------------------------------


def test_a_block_sees_its_own_rows(table: tm.Table) -> None:
    """Inserts, deletes and delete_object of one key in one block, each on what those before it left."""
    table.insert([("k", n) for n in range(6)])
    with table.atomic() as tx:
        tx.insert(("k", 6))
        tx.delete_object(("k", 2))
        tx.delete_object(("k", 6))
        tx.insert(("k", 2))
        tx.delete_object(("absent", 1))
        tx.insert([("new", 1), ("new", 2)])
        tx.delete("new")
        tx.insert(("new", 3))
    assert [row[1] for row in table.lookup("k")] == [0, 1, 3, 4, 5, 2]
    assert table.lookup("new") == [("new", 3)]
    assert len(table) == 7
    assert table.check() == []
    with table.atomic() as tx:
        tx.delete("k")
        tx.insert([("k", "a"), ("k", "b")])
        tx.delete_object(("k", "a"))
    assert table.lookup("k") == [("k", "b")]
    assert table.check() == []


def test_a_block_that_fails_leaves_every_list_as_it_was(table: tm.Table) -> None:
    """Whatever it had done to them: the exception is of an operation at its end."""
    table.insert([(key, n) for key in range(5) for n in range(10)])
    before = sorted(table)
    small = ("large", b"x" * (1 << 16))
    with pytest.raises(tm.TableTypeError), table.atomic() as tx:
        tx.delete(0)
        tx.update_counter(0, 1)
    limited = tm.create("limited", type=table.info().type, access="public", max_bytes=1 << 20)
    limited.insert([(key, n) for key in range(5) for n in range(10)])
    with pytest.raises(tm.TableFullError), limited.atomic() as tx:
        for key in range(5):
            tx.insert((key, "new"))
            tx.delete_object((key, 3))
            tx.insert((key, "newer"))
            tx.delete(key)
            tx.insert((key, "newest"))
            tx.delete_object((4 - key, 0))
        for n in range(100):
            tx.insert((*small, n))
    for each in (table, limited):
        assert sorted(each) == before
        assert each.lookup(2) == [(2, n) for n in range(10)]
        assert each.check() == []


# -- patterns and clauses ----------------------------------------------------------------------------------------------

V1, V2 = tm.vars(2)


def test_a_limit_may_fall_between_rows_of_one_key(table: tm.Table) -> None:
    """The continuation goes on with the next row of the key; pages of any size give every row once, in order."""
    table.insert([(n % 6, n) for n in range(240)])
    for limit in (1, 7, 40, 1000):
        page, more = table.match_object((V1, V2), limit=limit)
        found = list(page)
        while more is not tm.END:
            page, more = table.match_object(more)
            assert len(page) <= limit
            found += page
        assert found == list(table)
    page, more = table.match((3, V1), limit=5)
    assert (page, table.match(more)[0]) == ([(3 + 6 * n,) for n in range(5)], [(3 + 6 * n,) for n in range(5, 10)])


@pytest.mark.parametrize("pattern", [(V1, V2), (3, V2)], ids=["every key", "one key"])
def test_rows_deleted_between_pages_take_no_others_with_them(table: tm.Table, pattern: tuple[object, ...]) -> None:
    """Each page's rows are gone before the next is asked for: all others come exactly once, what was added may."""
    table.insert([(n % 6, n) for n in range(240)])
    wanted = table.match_object(pattern)
    page, more = table.match_object(pattern, limit=7)
    found = list(page)
    while more is not tm.END:
        for row in page:
            table.delete_object(row)
        table.insert([(row[0], "added") for row in page[:1]])
        page, more = table.match_object(pickle.loads(pickle.dumps(more)))
        assert len(page) <= 7
        found += page
    assert [row for row in found if row[1] != "added"] == wanted
    assert table.check() == []


def test_deleting_by_clauses_keeps_the_order_of_the_others(table: tm.Table) -> None:
    """With the key bound and without; the number is that of rows, copies included."""
    rows = [(n % 6, n // 24) for n in range(240)]
    table.insert(rows)
    kept = list(dict.fromkeys(rows)) if table.info().type == "bag" else list(rows)
    assert len(table) == len(kept)
    gone = [row for row in kept if row[1] % 3 == 1]
    assert table.select_delete(tm.Clause((V1, V2), [V2 % 3 == 1], True)) == len(gone)
    kept = [row for row in kept if row[1] % 3 != 1]
    assert table.match_delete((2, 5)) == kept.count((2, 5))
    kept = [row for row in kept if row != (2, 5)]
    for key in range(6):
        assert table.lookup(key) == [row for row in kept if row[0] == key]
    assert len(table) == len(kept)
    assert table.check() == []
    assert table.match_delete((V1, V2)) == len(kept)
    assert (len(table), table.check()) == (0, [])


def test_replacing_takes_each_row_of_a_duplicate_bag_once_and_in_its_place(duplicates: tm.Table) -> None:
    """Also where a row becomes what the next one is; a bag refuses, for two of its rows could become the same."""
    duplicates.insert([(key, n) for n in (1, 2, 2, 3, 1) for key in "ab"])
    assert duplicates.select_replace(tm.Clause((V1, V2), [V2 < 3], ((V1, V2 + 1)))) == 8
    assert duplicates.lookup_element("a", 1) == [2, 3, 3, 3, 2]
    assert duplicates.select_replace(tm.Clause(("a", 3), [], (("a", "three")))) == 3
    assert duplicates.lookup_element("a", 1) == [2, "three", "three", "three", 2]
    assert duplicates.lookup_element("b", 1) == [2, 3, 3, 3, 2]
    assert duplicates.check() == []


def test_a_bag_refuses_to_replace(bag: tm.Table) -> None:
    """TableTypeError, and nothing is done."""
    bag.insert([("k", 1), ("k", 2)])
    with pytest.raises(tm.TableTypeError, match="no such operation"):
        bag.select_replace(tm.Clause((V1, V2), [], ((V1, 2))))
    assert bag.lookup("k") == [("k", 1), ("k", 2)]


def test_deleting_by_clauses_from_a_long_list_is_one_pass(duplicates: tm.Table) -> None:
    """Every second of 50,000 rows of one key; the rest in order."""
    duplicates.insert([("k", n) for n in range(50_000)])
    assert duplicates.select_delete(tm.Clause(("k", V1), [V1 % 2 == 0], True)) == 25_000
    assert duplicates.lookup_element("k", 1) == list(range(1, 50_000, 2))
    assert duplicates.check() == []


# -- against a model --------------------------------------------------------------------------------------------------


class Reference:
    """What a bag is: a list of rows per key."""

    def __init__(self, is_set_of_rows: bool) -> None:
        self.rows: Model = {}
        self.is_set_of_rows = is_set_of_rows

    def insert(self, row: tuple[Any, ...]) -> None:
        """At the end of the key's list."""
        rows = self.rows.setdefault(row[0], [])
        if not (self.is_set_of_rows and row in rows):
            rows.append(row)

    def delete(self, key: Any) -> list[tuple[Any, ...]]:
        """The rows of the key, which are gone."""
        return self.rows.pop(key, [])

    def delete_object(self, row: tuple[Any, ...]) -> int:
        """How many rows were this one."""
        rows = self.rows.get(row[0], [])
        kept = [each for each in rows if each != row]
        if kept:
            self.rows[row[0]] = kept
        else:
            self.rows.pop(row[0], None)
        return len(rows) - len(kept)


def _random_step(rng: random.Random, table: tm.Table, model: Reference, n_keys: int) -> None:
    key, value = rng.randrange(n_keys), rng.randrange(12)
    row = (key, value, "x" * rng.choice((0, 0, 10, 100, 5000)))
    chance = rng.random()
    if chance < 0.5:
        table.insert(row)
        model.insert(row)
    elif chance < 0.56:
        assert table.delete(key) == len(model.delete(key))
    elif chance < 0.6:
        assert table.take(key) == model.delete(key)
    elif chance < 0.75:
        row = rng.choice(model.rows.get(key, [row]))
        assert table.delete_object(row) == model.delete_object(row)
    elif chance < 0.8:
        assert table.insert_new(row) == (key not in model.rows)
        if key not in model.rows:
            model.insert(row)
    elif chance < 0.85:
        rows = [(rng.randrange(n_keys), rng.randrange(12), "") for _ in range(rng.randrange(100))]
        table.insert(rows)
        for each in rows:
            model.insert(each)
    elif chance < 0.995:
        with table.atomic() as tx:
            for _ in range(rng.randrange(20)):
                row = (rng.choice((key, rng.randrange(n_keys))), rng.randrange(12), "")
                kind = rng.random()
                if kind < 0.5:
                    tx.insert(row)
                    model.insert(row)
                elif kind < 0.8:
                    tx.delete_object(row)
                    model.delete_object(row)
                else:
                    tx.delete(row[0])
                    model.delete(row[0])
    else:
        assert table.delete_all() == sum(map(len, model.rows.values()))
        model.rows.clear()


@pytest.mark.parametrize(("seed", "n_keys"), [(1, 3), (2, 40), (3, 2000)])
def test_random_operations_agree_with_lists(table: tm.Table, seed: int, n_keys: int) -> None:
    """Seeded: every verb on few keys with long lists and on many keys, the whole table compared now and then."""
    rng = random.Random(seed)
    model = Reference(table.info().type == "bag")
    for step in range(4000):
        _random_step(rng, table, model, n_keys)
        key = rng.randrange(n_keys)
        assert table.lookup(key) == model.rows.get(key, [])
        assert len(table) == sum(map(len, model.rows.values()))
        if step % 400 == 0:
            assert table.check() == []
            seen: Model = {}
            for row in table:
                seen.setdefault(row[0], []).append(row)
            assert seen == model.rows
    assert table.check() == []


# -- other processes --------------------------------------------------------------------------------------------------


def _rewrite_for_ever(name: str, seed: int) -> None:
    rng = random.Random(seed)
    table = tm.attach(name)
    while True:
        key, stamp = rng.randrange(8), rng.randrange(1 << 60)
        rows = [(key, stamp, n) for n in range(50)]
        kind = rng.random()
        if kind < 0.4:
            with table.atomic() as tx:
                tx.delete(key)
                tx.insert(rows)
        elif kind < 0.7:
            with table.atomic() as tx:
                tx.insert(rows)
                for n in range(0, 50, 7):
                    tx.delete_object((key, stamp, n))
                tx.delete(key)
                tx.insert(rows[::2] + rows[1::2])
                for n in range(1, 50, 2):
                    tx.delete_object((key, stamp, n))
                tx.insert(rows[1::2])
        else:
            table.take(key)
            table.insert(rows)


def test_readers_see_whole_lists_only(table: tm.Table) -> None:
    """While writers replace them, and are killed and replaced themselves: a key's 50 rows are of one write, or none."""
    context = multiprocessing.get_context("fork")
    for turn in range(4):
        writers = [context.Process(target=_rewrite_for_ever, args=(table.name, turn * 10 + n)) for n in range(2)]
        for writer in writers:
            writer.start()
        seen = 0
        while seen < 4000:
            for key in range(8):
                _is_whole(key, table.lookup(key))
            for key, rows in enumerate(table.lookup_many(range(8))):
                _is_whole(key, rows)
            by_key: Model = {}
            for row in table:
                by_key.setdefault(row[0], []).append(row)
            for key, rows in by_key.items():
                _is_whole(key, rows)
            seen += len(by_key)
        for writer in writers:
            writer.kill()
            writer.join()
    for key in range(8):
        _is_whole(key, table.lookup(key))
    assert len(table) % 50 == 0
    assert table.check() == []


def _is_whole(key: int, rows: list[tuple[Any, ...]]) -> None:
    """Nothing, or the fifty rows of one or more writes (two writers that both found the key free), each whole."""
    assert len(rows) % 50 == 0
    for start in range(0, len(rows), 50):
        part = rows[start : start + 50]
        assert {(row[0], row[1]) for row in part} == {(key, part[0][1])}
        numbers = [row[2] for row in part]
        assert numbers in (list(range(50)), [*range(0, 50, 2), *range(1, 50, 2)])


def _insert_and_delete_for_ever(name: str, number: int) -> None:
    table = tm.attach(name)
    while True:
        table.insert(("k", number))
        table.delete_object(("k", number))


def test_an_order_that_never_was_is_never_seen(table: tm.Table) -> None:
    """What stays keeps its order and is never missing, while rows around it come and go, also from the middle."""
    stays = [("k", f"stays {n}") for n in range(20)]
    context = multiprocessing.get_context("fork")
    table.insert(stays[:10])
    writers = [context.Process(target=_insert_and_delete_for_ever, args=(table.name, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for row in stays[10:]:
        table.insert(row)
    for _ in range(3000):
        rows = table.lookup("k")
        assert [row for row in rows if isinstance(row[1], str)] == stays
        others = [row[1] for row in rows if isinstance(row[1], int)]
        assert len(others) == len(set(others)) <= 3
    for writer in writers:
        writer.kill()
        writer.join()
    assert table.check() == []


def test_a_killed_owner_hands_over_every_row(table: tm.Table) -> None:
    """Rows of a writer that was killed in the middle of its inserts: a prefix of them, in order."""

    def fill(name: str) -> None:
        attached = tm.attach(name)
        for n in range(10**9):
            attached.insert(("k", n))

    writer = multiprocessing.get_context("fork").Process(target=fill, args=(table.name,))
    writer.start()
    while len(table) < 500:
        pass
    writer.kill()
    writer.join()
    rows = table.lookup("k")
    assert rows == [("k", n) for n in range(len(rows))]
    assert len(table) == len(rows) >= 500
    assert table.check() == []
