# SPDX-License-Identifier: Apache-2.0
"""Keys at the table: what goes in comes out, equal keys are one row and others are not, and they have one order."""

import itertools
import math
import random
import struct
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import hypothesis
import pytest
from hypothesis import given, strategies as st

import tablemgr as tm
from tests.unit.test_codec import keys as any_key

TYPES = ("set", "ordered_set")
KEY_LISTS = st.lists(any_key | st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, True, "", ()]), max_size=12)


@pytest.fixture(params=TYPES)
def table(request: pytest.FixtureRequest) -> tm.Table:
    """An empty table of either type."""
    return tm.create("t", type=request.param, access="public")


@pytest.fixture
def ordered() -> tm.Table:
    """An empty ordered_set."""
    return tm.create("o", type="ordered_set", access="public")


def typed(key: Any) -> Any:
    """A stand-in that is equal only to that of the same value and type; all NaNs are one."""
    if isinstance(key, tuple):
        return "tuple", tuple(map(typed, key))
    return type(key).__name__, repr(key)


def by_value(key: Any) -> Any:
    """A stand-in that is equal to those of keys that are one in an ordered_set."""
    if isinstance(key, tuple):
        return "tuple", tuple(map(by_value, key))
    if isinstance(key, (int, float)) and not isinstance(key, bool):
        return "number", "nan" if key != key else key
    if isinstance(key, Decimal) and not key.is_nan():
        return "Decimal", key
    return typed(key)


def one_key(table: tm.Table) -> Callable[[Any], Any]:
    """What tells the table's keys apart."""
    return by_value if table.info().type == "ordered_set" else typed


def walk(key: Any, step: Callable[[Any], Any]) -> Iterator[Any]:
    """All keys from one on."""
    while key is not tm.END:
        yield key
        key = step(key)


def on_each_type(check: Callable[[tm.Table], None]) -> None:
    """For hypothesis: the check on a fresh table of either type."""
    for table_type in TYPES:
        table = tm.create(uuid.uuid4().hex, type=table_type, access="public")
        try:
            check(table)
            assert table.check() == []
        finally:
            table.drop()


@given(any_key)
def test_a_key_comes_out_as_it_went_in(key: Any) -> None:
    """By every way out, of the same type and value, and gone once it is deleted."""

    def check(table: tm.Table) -> None:
        table.insert((key, "row"))
        assert key in table
        [row] = table.lookup(key)
        for found in (row[0], table.first(), table.last(), table.lookup_element(key, 0), *(row[0] for row in table)):
            assert typed(found) == typed(key)
        assert not table.insert_new((key, "again"))
        assert table.next(key) is table.prev(key) is tm.END
        assert table.update_element(key, (1, key))
        assert typed(table.lookup_element(key, 1)) == typed(key)
        assert table.delete(key) == 1
        assert key not in table

    on_each_type(check)


@given(KEY_LISTS)
def test_equal_keys_are_one_row_and_others_are_not(keys: list[Any]) -> None:
    """By type and value in a set, numbers by value in an ordered_set, at every depth; the last row counts."""

    def check(table: tm.Table) -> None:
        identity = one_key(table)
        expected = {}
        for number, key in enumerate(keys):
            assert (key in table) is (identity(key) in expected)
            table.insert((key, number))
            expected[identity(key)] = (typed(key), number)
        assert len(table) == len(expected)
        assert {identity(key): (typed(key), number) for key, number in table} == expected
        assert [table.lookup_element(key, 1) for key in keys] == [expected[identity(key)][1] for key in keys]

    on_each_type(check)


@given(KEY_LISTS, st.randoms(use_true_random=False))
def test_the_order_of_keys_is_one_whatever_the_order_of_insertion(keys: list[Any], rng: random.Random) -> None:
    """Iteration, steps in both directions and the place of a key that is not there agree, for either type."""

    def check(table: tm.Table) -> None:
        table.insert([(key,) for key in keys])
        order = [row[0] for row in table]
        wanted = list(map(typed, order))
        shuffled = [row for key in order for row in table.take(key)]
        rng.shuffle(shuffled)
        for row in shuffled:
            table.insert(row)
        assert [typed(row[0]) for row in table] == wanted
        assert [typed(key) for key in walk(table.first(), table.next)] == wanted
        assert [typed(key) for key in walk(table.last(), table.prev)] == wanted[::-1]
        for before, key, after in zip([tm.END, *order], order, [*order[1:], tm.END], strict=False):
            assert table.delete(key) == 1
            assert typed(table.next(key)) == typed(after)
            assert typed(table.prev(key)) == typed(before)
            table.insert((key,))

    on_each_type(check)


@given(
    st.one_of(
        st.lists(st.text()),
        st.lists(st.binary()),
        st.lists(st.one_of(st.integers(), st.integers(-(2**200), 2**200), st.floats(allow_nan=False))),
        st.lists(st.dates()),
        st.lists(st.timedeltas()),
        st.lists(st.uuids()),
        st.lists(st.decimals(allow_nan=False)),
        st.lists(st.lists(st.text(max_size=3), max_size=3).map(tuple)),
        st.lists(st.lists(st.integers(-2, 2) | st.floats(-2, 2), max_size=3).map(tuple)),
    )
)
def test_an_ordered_set_has_pythons_order_within_a_type(keys: list[Any]) -> None:
    """Rows come sorted as Python sorts their keys, and a range is what lies between its bounds."""
    table = tm.create(uuid.uuid4().hex, type="ordered_set", access="public")
    try:
        table.insert([(key,) for key in keys])
        expected = sorted({by_value(key): key for key in keys}.values())
        found = [row[0] for row in table]
        assert found == expected
        for lo, hi in itertools.islice(itertools.combinations(keys, 2), 10):
            assert [row[0] for row in table.range(lo, hi)] == [key for key in expected if lo <= key < hi]
        assert table.check() == []
    finally:
        table.drop()


def test_every_nan_is_one_key(table: tm.Table) -> None:
    """Whatever its sign and payload, also within tuples; it is found, and in an ordered_set it is the last number."""
    nans = [
        struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8 << 48, 0xFFF8 << 48, (0x7FF8 << 48) + 5)
    ]
    table.insert([(math.inf,), (-math.inf,), (0,), ("",)])
    for number, nan in enumerate(nans):
        table.insert((nan, number))
        table.insert(((nan, nan), number))
    for nan in nans:
        [row] = table.lookup(nan)
        assert math.isnan(row[0])
        assert row[1] == 2
        assert (nan, nan) in table
        assert (nan,) not in table
    assert len(table) == 6
    if table.info().type == "ordered_set":
        assert table.prev(math.nan) == math.inf
        assert table.next(math.nan) == ""
        assert [row[1] for row in table.range(math.nan, "")] == [2]
    assert table.delete(nans[1]) == 1
    assert math.nan not in table


def test_minus_zero(table: tm.Table) -> None:
    """In a set 0, 0.0 and -0.0 are three keys; in an ordered_set one, written as it was last; signs are kept."""
    zeros: list[Any] = [0, 0.0, -0.0]
    for zero in zeros:
        table.insert((zero, repr(zero)))
        assert repr(table.lookup(zero)[0][0]) == repr(zero)
    if table.info().type == "ordered_set":
        assert [repr(row) for row in table] == ["(-0.0, '-0.0')"]
        assert table.delete_object((0.0, "-0.0")) == 0
    else:
        assert sorted(row[1] for row in table) == ["-0.0", "0", "0.0"]
        assert table.delete_object((0.0, "-0.0")) == 0
        assert table.delete(-0.0) == 1
        assert 0.0 in table
    assert table.delete_many(zeros) == len(zeros) - 1 if table.info().type == "set" else 1


def test_a_default_row_gets_the_key_of_the_call_and_a_row_keeps_its_own(table: tm.Table) -> None:
    """update_counter and update_element by an equal key of another type, where there is such a thing."""
    table.insert((1, 10))
    table.update_counter(1.0, 1, (5, 100))
    table.update_element(1.0, (1, "new"), (5, 100))
    found = sorted(map(repr, table))
    assert found == (["(1, 'new')"] if table.info().type == "ordered_set" else ["(1, 10)", "(1.0, 'new')"])
    table.update_counter(7.0, 1, (7, 0))
    assert [repr(row) for row in table.lookup(7.0)] == ["(7.0, 1)"]


def test_huge_integers_are_keys(table: tm.Table) -> None:
    """Around every power of two up to 8,000 bits, both signs, told apart from their neighbours and from floats."""
    powers = [2**exponent for exponent in (7, 8, 31, 32, 52, 53, 54, 63, 64, 65, 127, 128, 1023, 1024, 8000)]
    integers = [sign * (power + offset) for power in powers for sign in (1, -1) for offset in (-1, 0, 1)]
    table.insert([(number, str(hash(number))) for number in integers])
    assert len(table) == len(set(integers))
    for number in integers:
        assert table.lookup(number) == [(number, str(hash(number)))]
    if table.info().type == "ordered_set":
        assert [row[0] for row in table] == sorted(set(integers))
        assert table.lookup(2.0**53)[0][0] == 2**53
        assert table.next(2.0**1023) == 2**1023 + 1
        assert table.next(math.inf) is tm.END
        assert table.prev(math.inf) == 2**8000 + 1
    else:
        assert 2.0**53 not in table


def test_a_key_has_64_kib_at_most(table: tm.Table) -> None:
    """Encoded: just under that it is stored exactly, over it is a ValueError by every verb; the table is as it was."""
    longest: list[Any] = ["x" * 65_000, b"\xff" * 65_000, 1 << 519_000, ("y" * 32_000, "z" * 32_000)]
    for key in longest:
        table.insert((key, 1))
        assert table.lookup(key) == [(key, 1)]
    too_long: list[Any] = ["x" * 65_537, b"\0" * 65_537, -1 << 8 * 65_537, ("y" * 33_000, "z" * 33_000)]
    for key in too_long:
        verbs: list[Callable[[Any], object]] = [
            lambda key: table.insert((key, 1)),
            lambda key: table.insert([(5, 1), (key, 1)]),
            lambda key: key in table,
            *(table.lookup, table.take, table.delete, table.next),
        ]
        for verb in verbs:
            with pytest.raises(ValueError, match="65541"):
                verb(key)
    assert len(table) == len(longest)
    assert table.check() == []


def test_nested_tuples_are_keys_to_a_depth_of_100(table: tm.Table) -> None:
    """Each level is another key; what is deeper is refused."""

    def nested(depth: int) -> Any:
        key: Any = "core"
        for _ in range(depth):
            key = (key,)
        return key

    deepest = 99  # the row is a level too
    table.insert([(nested(depth), depth) for depth in range(deepest + 1)])
    assert len(table) == deepest + 1
    for depth in range(deepest + 1):
        assert table.lookup(nested(depth)) == [(nested(depth), depth)]
    if table.info().type == "ordered_set":
        assert [row[1] for row in table] == list(range(deepest + 1))  # text before tuples, at every depth
    with pytest.raises(ValueError, match="100"):
        table.insert((nested(200), 0))
    assert len(table) == deepest + 1


def test_text_is_told_apart_by_code_points(table: tm.Table) -> None:
    """Astral characters, NULs, what looks alike and what normalises alike: all different keys, kept exactly."""
    texts = ["", "\0", "a", "a\0", "a\0\0", "é", "e\u0301", "\u212b", "å", "ß", "ss", "\ufeff", "\ufeffa", "\uffff"]
    texts += ["\U00010000", "\N{GRINNING FACE}", "\N{GRINNING FACE}" * 100, "\U0010ffff", "\ud7ff", "\ue000"]
    table.insert([(text, list(map(ord, text))) for text in texts])
    assert len(table) == len(texts)
    for text in texts:
        assert table.lookup(text) == [(text, list(map(ord, text)))]
        assert text.encode() not in table
    if table.info().type == "ordered_set":
        assert [row[0] for row in table] == sorted(texts)  # not UTF-16's order


@pytest.mark.parametrize("text", ["\ud800", "a\udc80b", "\ud83d\ude00"], ids=ascii)
def test_lone_surrogates_are_refused(table: tm.Table, text: str) -> None:
    """They are no text: a ValueError by every verb, in a key, a tuple and a value; the table is as it was."""
    table.insert([(1, 2)])
    for key in (text, (text,), (1, (2, text))):
        verbs: list[Callable[[Any], object]] = [
            lambda key: table.insert((key, 1)),
            lambda key: table.insert([(5, 5), (key, 1)]),
            lambda key: table.insert_new((key, 1)),
            lambda key: table.insert((1, key)),
            lambda key: table.update_element(1, (1, key)),
            lambda key: table.update_counter(key, 1, (0, 1)),
            lambda key: key in table,
            *(table.lookup, table.take, table.delete, table.next, table.prev),
        ]
        for verb in verbs:
            with pytest.raises(ValueError, match="surrogate"):
                verb(key)
    assert list(table) == [(1, 2)]
    assert table.check() == []


@hypothesis.settings(max_examples=30)
@given(st.lists(any_key, min_size=20, max_size=60))
def test_many_keys_of_all_types_in_one_table(keys: list[Any]) -> None:
    """Put in, looked up, taken out again: nothing is left."""

    def check(table: tm.Table) -> None:
        identity = one_key(table)
        rows = {identity(key): key for key in keys}
        table.insert([(key, number) for number, key in enumerate(keys)])
        assert len(table) == len(rows)
        assert all(table.lookup_many(keys))
        assert sum(len(table.take(key)) for key in rows.values()) == len(rows)
        assert (len(table), list(table), table.first()) == (0, [], tm.END)

    on_each_type(check)
