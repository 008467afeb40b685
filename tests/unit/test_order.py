# SPDX-License-Identifier: Apache-2.0
"""The total order of encoded terms: its laws, Python's own order within each type, and the sort keys'."""

from __future__ import annotations

import ctypes
import datetime as dt
import itertools
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given, settings, strategies as st

from tablemgr import _codec
from tests.support.core import core
from tests.unit.test_codec import keys, with_zone_and_fold

compare_bytes = core().order_compare
compare_bytes.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
check_bytes = core().order_check_key
check_bytes.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
check_bytes.restype = ctypes.c_bool


def sign(number: Any) -> int:
    """-1, 0 or 1."""
    return int(number > 0) - int(number < 0)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1: the order of two values."""
    x, y = _codec.encode(a), _codec.encode(b)
    return sign(compare_bytes(x, len(x), y, len(y)))


def check(data: bytes) -> bool:
    """Whether these bytes are a key."""
    return bool(check_bytes(data, len(data)))


zone = dt.timezone(dt.timedelta(hours=2))
# One of each kind and what is special within it, in ascending order.
LADDER: list[Any] = [
    None,
    False,
    True,
    -math.inf,
    -(10**400),
    -(2.0**65),
    -(2**64) - 1,
    -(2**64),
    -(2**63) - 1,
    -(2**63),
    -33,
    -1.5,
    -1,
    -(2.0**-62),
    -5e-324,
    0,
    5e-324,
    1e-300,
    2.0**-62,
    0.5,
    1,
    1.5,
    127,
    128,
    2**31 - 0.5,
    2**31,
    2.0**53,
    2**53 + 1,
    2**53 + 2,
    2**63 - 1,
    2**63,
    2**63 + 1,
    2**64 - 1,
    2.0**64,
    2**64 + 1,
    2**127 - 1,
    2.0**127,
    2**127 + 1,
    1.7976931348623157e308,
    10**309,
    10**400,
    math.inf,
    math.nan,
    "",
    "\0",
    "a",
    "a\0",
    "ab",
    "abcdefg",
    "abcdefgh",
    "abcdefgi",
    "b",
    "\x7f",
    "\x80",
    "é",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    b"",
    b"\0",
    b"a",
    b"\xff",
    dt.date.min,
    dt.date(2020, 1, 1),
    dt.date.max,
    dt.datetime.min,
    dt.datetime(2020, 1, 1),
    dt.datetime(2020, 1, 1, fold=1),
    dt.datetime.max,
    dt.datetime.min.replace(tzinfo=zone),
    dt.datetime(2020, 1, 1, 1, tzinfo=zone),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
    dt.datetime(2020, 1, 1, 2, tzinfo=zone),
    dt.datetime(2020, 1, 1, 2, tzinfo=zone, fold=1),
    dt.datetime.max.replace(tzinfo=dt.timezone.utc),
    dt.time(),
    dt.time(23, 59, 59, 999999),
    dt.time(tzinfo=zone),
    dt.time(tzinfo=dt.timezone.utc),
    dt.timedelta.min,
    dt.timedelta(microseconds=-1),
    dt.timedelta(),
    dt.timedelta(microseconds=1),
    dt.timedelta(milliseconds=1),
    dt.timedelta.max,
    Decimal("-Infinity"),
    Decimal("-1E+3000"),
    Decimal("-100.5"),
    Decimal("-1E-3000"),
    Decimal("-1E-999999999999999999"),
    Decimal(0),
    Decimal("1E-3000"),
    Decimal("0.000000012"),
    Decimal("0.05"),
    Decimal("0.5"),
    Decimal("0.50000000000000000001"),
    Decimal("9.99"),
    Decimal(10),
    Decimal(12345678901234567890),
    Decimal("1E+3000"),
    Decimal("9E+999999999999999999"),
    Decimal("Infinity"),
    Decimal("-NaN"),
    Decimal("NaN"),
    Decimal("NaN7"),
    Decimal("sNaN"),
    uuid.UUID(int=0),
    uuid.UUID(int=1),
    uuid.UUID(int=2**128 - 1),
    (),
    (None,),
    (None, None),
    (1,),
    (1, ()),
    (1.5,),
    (2**100,),
    ("a",),
    ("a", 1),
    ("a", "a"),
    ("ab",),
    ((), 1),
    ((), ()),
    (((), 1),),
    [],
    [1],
    [1, 1],
    [1.5],
    {},
    {2: 1},
    {2: 1.5},
    {3: 0},
    {1: 1, 2: 1},
    set(),
    {1},
    {1.5},
    {1, 2},
    frozenset(),
    frozenset({1}),
    bytearray(),
    bytearray(b"a"),
]


def test_the_ladder_is_ascending() -> None:
    """Every pair of a list with all kinds in it and the borders within each compares as the list has them."""
    for i, a in enumerate(LADDER):
        for k, b in enumerate(LADDER):
            assert compare(a, b) == sign(i - k), (a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (0.0, -0.0),
        (0, -0.0),
        (2**64, 2.0**64),
        (2**63, 2.0**63),
        (-(2**63), -(2.0**63)),
        (10**22, 1e22),
        (math.nan, -math.nan),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal(100), Decimal("1E+2")),
        (Decimal("-0"), Decimal("0E+9")),
        (Decimal("0.10"), Decimal("1E-1")),
        ((1, (2.0, Decimal(3))), (1.0, (2, Decimal("3.0")))),
        ([1, [2]], [1.0, [2.0]]),
        ({1: 2, "a": [1]}, {"a": [1.0], 1.0: 2.0}),
        ({1, 2.0, "a"}, {1.0, 2, "a"}),
        (frozenset({frozenset({1}), frozenset({2})}), frozenset({frozenset({2.0}), frozenset({1.0})})),
    ],
)
def test_equal_values_are_equal(a: Any, b: Any) -> None:
    """Numbers by value, Decimals by value, at every depth; dicts and sets whatever their order."""
    assert compare(a, b) == compare(b, a) == 0


small = st.sampled_from([None, True, 0, 1, 1.0, 2, "", "a", b"", (), (1,), Decimal("1.0"), Decimal(1), Decimal(2)])


@given(st.recursive(keys, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(small, inner, max_size=3)))
def test_a_value_equals_itself(value: Any) -> None:
    """Reflexive, NaN included."""
    assert compare(value, value) == 0


near = (
    st.integers(-3, 3)
    | st.sampled_from([2**k + d for k in (52, 53, 54, 62, 63, 64, 65, 100, 127, 1023, 1024) for d in (-1, 0, 1)])
    | st.sampled_from([-(2**k) + d for k in (52, 53, 54, 62, 63, 64, 65, 100, 127, 1023, 1024) for d in (-1, 0, 1)])
)
numbers = (
    near
    | st.integers()
    | st.integers(-(10**320), 10**320)
    | st.floats()
    | near.filter(lambda n: abs(n) < 2**1023).map(float)
)
terms = st.recursive(
    small | keys,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(small, inner, max_size=3)
        | st.sets(small, max_size=3)
        | st.frozensets(small, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=400)
@given(terms, terms, terms)
def test_the_order_is_total(a: Any, b: Any, c: Any) -> None:
    """Antisymmetric, and transitive, equality included."""
    assert compare(a, b) == -compare(b, a)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) == min(compare(a, b), compare(b, c))


@settings(max_examples=400)
@given(numbers, numbers)
@example(2**53 + 1, float(2**53))
@example(10**400, math.inf)
def test_numbers_compare_by_exact_value(a: Any, b: Any) -> None:
    """Ints of any size and floats, without rounding; NaN is last."""
    if a != a or b != b:
        assert compare(a, b) == (a != a) - (b != b)
    else:
        assert compare(a, b) == (a > b) - (a < b)


@settings(max_examples=400)
@given(
    st.tuples(st.text(), st.text())
    | st.tuples(st.binary(), st.binary())
    | st.tuples(st.dates(), st.dates())
    | st.tuples(st.datetimes(), st.datetimes())
    | st.tuples(st.times(), st.times())
    | st.tuples(st.timedeltas(), st.timedeltas())
    | st.tuples(st.uuids(), st.uuids())
    | st.tuples(st.decimals(allow_nan=False), st.decimals(allow_nan=False))
    | st.tuples(*[st.lists(st.integers(0, 2), max_size=3).map(tuple)] * 2)
    | st.tuples(*[st.lists(st.text("ab", max_size=2), max_size=3).map(tuple)] * 2)
    | st.tuples(*[st.lists(st.integers(0, 2), max_size=3)] * 2)
)
def test_each_type_is_in_pythons_order(pair: tuple[Any, Any]) -> None:
    """Of two values of one type the less is less."""
    a, b = pair
    assert compare(a, b) == (a > b) - (a < b)


@given(*[with_zone_and_fold(st.datetimes() | st.times())] * 2)
def test_aware_times_are_in_order_of_their_instants(a: Any, b: Any) -> None:
    """Naive before aware; a later instant is later, whatever its zone."""
    assume(type(a) is type(b))
    if (a.tzinfo is None) != (b.tzinfo is None):
        assert compare(a, b) == (1 if b.tzinfo is None else -1)
    elif a.tzinfo is None:
        assert (compare(a, b) or 0) == sign((a > b) - (a < b)) or (a == b and compare(a, b) == sign(a.fold - b.fold))
    elif a != b:
        assert compare(a, b) == (a > b) - (a < b)
    else:
        assert compare(a, b) == (sign((a.utcoffset() - b.utcoffset()) / dt.timedelta(1)) or sign(a.fold - b.fold))


def sortkey_order(a: Any, b: Any) -> int:
    """-1, 0 or 1: the order of two keys' sort keys."""
    x, y = _codec.sortkey(_codec.encode_key(a)), _codec.sortkey(_codec.encode_key(b))
    return sign(x > y) - sign(x < y)


@settings(max_examples=400)
@given(keys | numbers, keys | numbers)
def test_sort_keys_are_in_the_same_order(a: Any, b: Any) -> None:
    """Guards compare as an ordered_set does: two implementations of one order."""
    assert sortkey_order(a, b) == compare(a, b)


def test_the_sort_keys_of_the_ladder_ascend() -> None:
    """Over all kinds of keys and the borders within each."""
    ladder = LADDER[: LADDER.index([])]
    assert all(sortkey_order(a, b) < 0 for a, b in itertools.pairwise(ladder))


@given(keys)
def test_keys_are_known_as_such(key: Any) -> None:
    """What the codec writes as a key is one; cut off or with more behind it, it is none."""
    encoded = _codec.encode_key(key)
    assert check(encoded)
    assert not check(encoded + b"\0")
    assert not check(encoded[:-1])


@pytest.mark.parametrize(
    "value",
    [[], [1], {}, {1: 2}, set(), frozenset({1}), bytearray(b"x"), ([],), (1, ((set(),),))],
)
def test_other_values_are_no_keys(value: Any) -> None:
    """At any depth."""
    assert not check(_codec.encode(value))


def test_a_key_nests_a_hundred_deep_and_no_deeper() -> None:
    """As the codec has it."""
    key: Any = ()
    for _ in range(99):
        key = (key,)
    encoded = _codec.encode_key(key)
    assert check(encoded)
    size = len(encoded) + 1
    assert not check(b"\xc8" + size.to_bytes(2, "big") + b"\x01\x91" + encoded)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xd4\x02\x00",  # an int without a magnitude
        b"\xd5\x02\x02\x01",  # with another sign
        b"\xd5\x06..",  # Decimals that are none
        b"\xd5\x061E",
        b"\xd6\x06-NaX",
        b"\xd6\x08\0\0\0",
        b"\xd5\x08\0\0",
        b"\xc7\x10\x0a" + bytes(16),
        b"\xc7\x09\x0a" + b"\xff" * 9,  # no time of day
        b"\xd4\x20\x00",  # an extension type of no meaning
        b"\xd4\x01\x91",  # a tuple without its element
        b"\xd5\x01\x90\x00",  # and with more than its elements
    ],
)
def test_malformed_terms_are_no_keys(data: bytes) -> None:
    """Cut off, out of range, unknown."""
    assert not check(data)


@settings(max_examples=1000)
@given(st.binary(max_size=24), st.binary(max_size=24))
def test_any_bytes_have_a_place(a: bytes, b: bytes) -> None:
    """What is malformed is compared without a crash, and the same both ways round."""
    assert sign(compare_bytes(a, len(a), b, len(b))) == -sign(compare_bytes(b, len(b), a, len(a)))


@settings(max_examples=300)
@given(terms, st.data())
def test_damaged_terms_have_a_place(value: Any, data: st.DataObject) -> None:
    """One byte changed, or the end cut off."""
    good = _codec.encode(value)
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    bad = bad[: data.draw(st.integers(0, len(bad)))]
    a, b = good, bytes(bad)
    assert sign(compare_bytes(a, len(a), b, len(b))) == -sign(compare_bytes(b, len(b), a, len(a)))


def test_deep_nesting_is_compared_without_deep_recursion() -> None:
    """Lists in lists far beyond what the codec writes."""
    deep = b"\x91" * 100_000
    assert compare_bytes(deep, len(deep), deep, len(deep)) == 0
    assert compare_bytes(deep + b"\x01", len(deep) + 1, deep + b"\x02", len(deep) + 1) < 0
