# SPDX-License-Identifier: Apache-2.0
"""ordered_set: rows in the order of their keys, numbers equal by value, ranges."""

from __future__ import annotations

import multiprocessing
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

import tablemgr as tm


@pytest.fixture
def table() -> tm.Table:
    """An empty ordered_set that everybody may write."""
    return tm.create("t", type="ordered_set", access="public")


IN_ORDER = [
    None,
    False,
    True,
    float("-inf"),
    -(2**70),
    -1.5,
    -1,
    0,
    0.5,
    1,
    2**53,
    2**53 + 1,
    2**64,
    1e300,
    float("inf"),
    float("nan"),
    "",
    "a",
    "a\0",
    "ab",
    "\N{GRINNING FACE}",
    b"",
    b"\xff",
    date(2020, 1, 1),
    datetime(2020, 1, 1),
    datetime(2020, 1, 1, tzinfo=timezone.utc),
    time(1, 2),
    timedelta(days=1),
    Decimal("1.0"),
    UUID(int=5),
    (),
    (None,),
    (1,),
    (1, "a"),
    (1, "b"),
    (2,),
    ("a",),
    ((1,),),
]


def test_keys_of_every_type_come_in_the_documented_order(table: tm.Table) -> None:
    """Whatever the order of insertion: iteration, ranges backwards and single steps agree on the order of api.md."""
    keys = list(IN_ORDER)
    random.Random(1).shuffle(keys)
    for key in keys:
        table.insert((key,))
    wanted = [repr(key) for key in IN_ORDER]
    assert [repr(row[0]) for row in table] == wanted
    assert [repr(row[0]) for row in table.range(reverse=True)] == wanted[::-1]
    walked, key = [], table.first()
    while key is not tm.END:
        walked.append(repr(key))
        key = table.next(key)
    assert walked == wanted
    assert table.check() == []


def test_numbers_are_one_key_by_value_and_booleans_are_not(table: tm.Table) -> None:
    """1 and 1.0 are one key, True is another; the row is the one written last, with the key as written."""
    table.insert([(1, "int"), (True, "bool"), (-0.0, "minus")])
    table.insert([(1.0, "float"), (0, "zero")])
    assert len(table) == 3
    assert table.lookup(1) == [(1.0, "float")]
    assert isinstance(table.lookup(1)[0][0], float)
    assert table.lookup(True) == [(True, "bool")]
    assert table.lookup_element(0.0, 1) == "zero"
    assert not table.insert_new((1, "again"))
    assert table.compare_and_swap((1.0, "float"), (1, "swapped"))
    assert table.delete(1.0) == 1
    assert table.delete_object((0.0, "zero")) == 0  # whole rows compare strictly


def test_a_range_takes_the_lower_bound_and_not_the_upper_one(table: tm.Table) -> None:
    """Bounds need not be keys; reverse and limit count from the end; empty and upside-down ranges are empty."""
    table.insert([(number, str(number)) for number in range(0, 1000, 2)])
    assert [row[0] for row in table.range(10, 20)] == [10, 12, 14, 16, 18]
    assert [row[0] for row in table.range(9, 19)] == [10, 12, 14, 16, 18]
    assert [row[0] for row in table.range(9.5, 20, reverse=True, limit=2)] == [18, 16]
    assert [row[0] for row in table.range(990)] == [990, 992, 994, 996, 998]
    assert [row[0] for row in table.range(None, 5)] == [0, 2, 4]
    assert list(table.range(20, 10)) == list(table.range(5, 5)) == list(table.range(3, 4)) == []
    assert len(list(table.range())) == 500
    assert list(table.range(limit=0)) == []
    assert len(list(table.range(limit=10**30))) == len(table)


def test_bounds_of_another_type_stand_where_their_type_does(table: tm.Table) -> None:
    """A str bound ends all numbers; a tuple bound all strings."""
    table.insert([(key,) for key in (None, 1, "a", "b", (1,))])
    assert [row[0] for row in table.range(0, "")] == [1]
    assert [row[0] for row in table.range("", ())] == ["a", "b"]


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda table: table.range([1]), TypeError),
        (lambda table: table.range(limit=-1), ValueError),
        (lambda table: table.range(limit="3"), TypeError),
        (lambda table: table.insert(([1], 2)), TypeError),
        (lambda table: table.next(tm.END), TypeError),
        (lambda table: table.compare_and_swap((1,), (2,)), ValueError),
    ],
)
def test_bad_arguments_are_refused(table: tm.Table, act: Callable[[tm.Table], object], error: type[Exception]) -> None:
    """What is no key is no bound, a limit is a number of rows, and the table stays as it was."""
    table.insert((1, 1))
    with pytest.raises(error):
        act(table)
    assert list(table) == [(1, 1)]


def test_other_types_have_no_ranges() -> None:
    """range() of a set is a TableTypeError."""
    with pytest.raises(tm.TableTypeError, match="no such operation"):
        tm.create("t").range()


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_a_tree_grows_and_goes_again(table: tm.Table, order: str) -> None:
    """20,000 rows in any order of keys: all there, sound, and after deleting them nothing but the root is left."""
    keys = [f"user{number:06}" for number in range(20_000)]
    wanted = sorted(keys)
    if order == "descending":
        keys.reverse()
    if order == "random":
        random.Random(2).shuffle(keys)
    for key in keys:
        table.insert((key, key))
    assert [row[0] for row in table] == wanted
    assert table.check() == []
    random.Random(3).shuffle(keys)
    for key in keys:
        assert table.take(key) == [(key, key)]
    assert table.check() == []
    assert (len(table), list(table)) == (0, [])
    assert table.info().bytes_used < 1000


def test_a_queue_does_not_grow(table: tm.Table) -> None:
    """Written at the end and emptied from the front, a table keeps the size of what is in it."""
    for number in range(2000):
        table.insert((number, "x" * 50))
    before = table.info().bytes_used
    for number in range(2000, 40_000):
        table.insert((number, "x" * 50))
        assert table.delete(table.first()) == 1
    assert table.info().bytes_used < 2 * before
    assert table.check() == []


def test_a_long_list_is_all_or_nothing(table: tm.Table) -> None:
    """100,000 rows in one call; a refused list leaves no trace; delete_all empties it."""
    table.insert([(number, "old") for number in range(0, 100_000, 2)])
    assert not table.insert_new([(number, "new") for number in range(1, 100_000, 2)] + [(0, "there")])
    assert len(table) == 50_000
    assert table.check() == []
    table.insert([(number, "new") for number in range(100_000)])
    assert len(table) == 100_000
    assert table.lookup_many([0, 99_999, 100_000]) == [[(0, "new")], [(99_999, "new")], []]
    assert table.delete_all() == 100_000
    assert table.check() == []
    assert list(table) == []


def test_an_atomic_block_sees_its_own_keys(table: tm.Table) -> None:
    """A key put in, taken out and put in again within one block; counters by a key of another number type."""
    table.insert([(number, 0) for number in range(100)])
    with table.atomic() as tx:
        for number in range(200):
            tx.insert((number + 0.5, number))
            tx.delete(number + 0.5)
            tx.insert((number + 0.5, -number))
        tx.update_counter(7.0, 5)
        for number in range(50, 100):
            tx.delete(number)
    assert len(table) == 250
    assert table.lookup(7) == [(7, 5)]
    assert [row[0] for row in table.range(60, 61)] == [60.5]
    assert table.check() == []
    with pytest.raises(KeyError), table.atomic() as tx:
        for number in range(50):
            tx.delete(number)
        tx.update_counter("absent", 1)
    assert len(table) == 250
    assert table.check() == []


def test_random_operations_agree_with_a_sorted_list(table: tm.Table) -> None:
    """Seeded: inserts, deletes, lists, lookups, steps and ranges against a dict and bisect."""
    rng = random.Random(4)
    model: dict[str, tuple[str, int]] = {}
    for step in range(6000):
        key = f"k{rng.randrange(1500)}"
        chance = rng.random()
        if chance < 0.45:
            table.insert((key, step))
            model[key] = (key, step)
        elif chance < 0.85:
            assert table.delete(key) == (model.pop(key, None) is not None)
        elif chance < 0.9:
            rows = [(f"k{rng.randrange(1500)}", step) for _ in range(rng.randrange(60))]
            table.insert(rows)
            model.update((row[0], row) for row in rows)
        else:
            keys = sorted(model)
            here, there = bisect_left(keys, key), bisect_right(keys, key)
            assert table.next(key) == (keys[there] if there < len(keys) else tm.END)
            assert table.prev(key) == (keys[here - 1] if here > 0 else tm.END)
            other = f"k{rng.randrange(1500)}"
            between = [model[found] for found in keys[here : bisect_left(keys, other)]]
            assert list(table.range(key, other)) == between
            assert list(table.range(key, other, reverse=True)) == between[::-1]
            assert table.lookup(key) == ([model[key]] if key in model else [])
        if step % 500 == 0:
            assert table.check() == []
    assert list(table) == [model[key] for key in sorted(model)]


def test_long_keys_with_common_beginnings(table: tm.Table) -> None:
    """Keys of up to 60 KiB that differ in their last byte, or of which one begins another, keep their order."""
    keys = ["x" * length + tail for length in (10, 1000, 60_000) for tail in ("", "a", "b", "ab")]
    keys += [("p", "q" * 500, number) for number in range(40)]  # type: ignore[misc]
    random.Random(5).shuffle(keys)
    table.insert([(key, 1) for key in keys])
    strings = sorted(key for key in keys if isinstance(key, str))
    assert [row[0] for row in table.range("", ())] == strings
    assert [row[0][2] for row in table.range(())] == list(range(40))
    assert table.check() == []
    for key in keys:
        assert table.delete(key) == 1
    assert table.check() == []


def _write_for_ever(name: str, seed: int) -> None:
    rng = random.Random(seed)
    table = tm.attach(name)
    while True:
        number = rng.randrange(1, 20_000, 2)
        if rng.random() < 0.5:
            table.insert((number, number * 3))
        else:
            table.delete(number)


def test_readers_of_ranges_see_what_is_there_throughout_exactly_once(table: tm.Table) -> None:
    """Writers split and merge leaves under the reader, and are killed and replaced: even keys are always all there."""
    table.insert([(number, number * 3) for number in range(0, 20_000, 2)])
    context = multiprocessing.get_context("fork")
    for turn in range(4):
        writers = [context.Process(target=_write_for_ever, args=(table.name, turn * 10 + seed)) for seed in range(2)]
        for writer in writers:
            writer.start()
        for reverse in (False, True):
            for _ in range(5):
                rows = list(table.range(reverse=reverse))
                keys = [row[0] for row in rows]
                assert keys == sorted(set(keys), reverse=reverse)
                assert sum(key % 2 == 0 for key in keys) == 10_000
                assert all(value == key * 3 for key, value in rows)
        for writer in writers:
            writer.kill()
            writer.join()
    assert table.check() == []


def test_an_aborted_block_leaves_no_memory_behind(table: tm.Table) -> None:
    """Keys of a block that was refused take no room afterwards, however often it is tried."""
    table.insert((0, 0))
    before = table.info().bytes_used
    for turn in range(20):
        with pytest.raises(KeyError), table.atomic() as tx:
            tx.insert([(turn * 1000 + number + 1, "x") for number in range(1000)])
            tx.update_counter("absent", 1)
    assert table.info().bytes_used < before + 4000
    assert list(table) == [(0, 0)]
    assert table.check() == []


def test_a_huge_row_does_not_have_to_be_copied_for_its_key(table: tm.Table) -> None:
    """Rows of megabytes beside small ones in one leaf: found, walked past and removed."""
    table.insert([("a", "x" * 3_000_000), ("c", "y" * 3_000_000)])
    for number in range(200):
        table.insert((f"b{number}", number))
    assert [row[0] for row in table.range("b", "c")] == sorted(f"b{number}" for number in range(200))
    assert len(table.lookup("c")[0][1]) == 3_000_000
    assert table.delete("a") == table.delete("c") == 1
    assert table.check() == []
