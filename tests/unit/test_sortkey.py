# SPDX-License-Identifier: Apache-2.0
"""Sort keys: the bytes of encoded keys in the order of an ordered_set, against an order written in Python."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import math
import uuid
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

import tablemgr  # noqa: F401 - binds the codec to the core
from tablemgr import _codec
from tests.unit.test_codec import key_atoms, with_zone_and_fold

D = decimal.Decimal
INF = math.inf


def sort_key(key: object) -> bytes:
    """The sort key of a key."""
    return _codec.sortkey(_codec.encode_key(key))


# -- the same order in Python ------------------------------------------------------------------------------------------


def place_of_number(number: float) -> tuple[Any, ...]:
    """Exact, NaN behind all others."""
    if isinstance(number, float) and not math.isfinite(number):
        return (2,) if math.isnan(number) else (1,) if number > 0 else (-1,)
    return (0, Fraction(number))


def place_of_moment(moment: dt.datetime | dt.time) -> tuple[Any, ...]:
    """Naive before aware, then by instant, by UTC offset and by fold."""
    day = dt.datetime(1970, 1, 1)
    wall = moment.replace(tzinfo=None) if isinstance(moment, dt.datetime) else dt.datetime.combine(day, moment)
    since = wall.replace(tzinfo=None) - day
    offset = moment.utcoffset()
    return (0, since, moment.fold) if offset is None else (1, since - offset, offset, moment.fold)


def place_of_decimal(number: D) -> tuple[Any, ...]:
    """By value; NaNs behind all others, by their text."""
    return (1, str(number)) if number.is_nan() else (0, number)


def place(key: object) -> tuple[Any, ...]:
    """Tuples that Python orders as an ordered_set orders the keys, and that are equal where the keys are."""
    if key is None:
        return (0,)
    if isinstance(key, bool):
        return (1, key)
    if isinstance(key, (int, float)):
        return (2, place_of_number(key))
    if isinstance(key, (str, bytes)):
        return (3 if isinstance(key, str) else 4, key)
    if isinstance(key, dt.datetime):
        return (6, place_of_moment(key))
    if isinstance(key, dt.date):
        return (5, key)
    if isinstance(key, dt.time):
        return (7, place_of_moment(key))
    if isinstance(key, dt.timedelta):
        return (8, key)
    if isinstance(key, D):
        return (9, place_of_decimal(key))
    if isinstance(key, uuid.UUID):
        return (10, key.bytes)
    assert isinstance(key, tuple)
    return (11, tuple(map(place, key)))


def assert_ordered(a: object, b: object) -> None:
    """Bytes and places agree on the order of two keys, and neither's bytes begin with the other's."""
    left, right, left_place, right_place = sort_key(a), sort_key(b), place(a), place(b)
    assert (left < right, left == right) == (left_place < right_place, left_place == right_place)
    assert left == right or not (left.startswith(right) or right.startswith(left))


# -- what keys there are -----------------------------------------------------------------------------------------------

boundaries = [
    sign * (base + step)
    for base in (1, 127, 128, 255, 256, 2**14, 2**31, 2**32, 2**53, 2**56, 2**63, 2**64, 2**70, 2**133, 2**140, 10**308)
    for step in (-1, 0, 1)
    for sign in (-1, 1)
]
numbers = (
    st.integers(-300, 300)
    | st.integers(-(2**70), 2**70)
    | st.integers(-(10**400), 10**400)
    | st.sampled_from(boundaries)
    | st.sampled_from(boundaries).map(float)
    | st.floats()
    | st.floats(-300, 300, width=16)
    | st.integers(-(2**60), 2**60).map(float)
    | st.builds(lambda mantissa, shift: mantissa << shift, st.integers(-(2**20), 2**20), st.integers(0, 200))
)
texts = st.text("\0\1\2aé\uffff\U0001f600", max_size=20) | st.text()
binaries = st.lists(st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF]), max_size=20).map(bytes) | st.binary()
decimals = (
    st.decimals()
    | st.decimals(min_value=-100, max_value=100, places=2)
    | st.builds(
        lambda sign, digits, exponent: D((sign, digits, exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), min_size=1, max_size=30),
        st.integers(-30, 30) | st.integers(-(10**17), 10**17),
    )
    | st.builds(
        lambda sign, digits, exponent: D((sign, digits, exponent)),
        st.integers(0, 1),
        st.lists(st.sampled_from([0, 1, 5]), min_size=1, max_size=5),
        st.integers(-9, 2),
    )
)
close_moments = st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 1))
moments = with_zone_and_fold(close_moments)
atoms = numbers | texts | binaries | decimals | moments | moments.map(lambda moment: moment.timetz()) | key_atoms
keys = st.recursive(atoms, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=6)
kinds = [numbers, texts, binaries, decimals, moments, moments.map(lambda moment: moment.timetz()), key_atoms, keys]
# Two keys that are of one kind more often than not.
pairs = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(kind, kind))


@given(pairs)
def test_bytes_are_in_the_order_of_the_keys(pair: tuple[object, object]) -> None:
    """Less, equal and greater of two sort keys are those of the keys; none is a proper prefix of another."""
    assert_ordered(*pair)


@given(st.lists(keys, max_size=3), st.lists(keys, max_size=3), st.lists(keys, max_size=3))
def test_tuples_are_ordered_by_the_first_difference(head: list[object], a: list[object], b: list[object]) -> None:
    """Tuples with a common beginning: what follows it decides, the shorter one first, at any depth."""
    assert_ordered((*head, *a), (*head, *b))
    assert_ordered(((*head, *a), None), ((*head, *b), None))


@given(numbers.filter(lambda number: isinstance(number, int) or math.isfinite(number)))
def test_a_number_has_one_sort_key_however_it_is_written(number: float) -> None:
    """An int and the float of the same value are one key, alone and in tuples."""
    if isinstance(number, float) and number.is_integer():
        assert sort_key(number) == sort_key(int(number))
        assert sort_key((number, "x")) == sort_key((int(number), "x"))
    elif isinstance(number, int) and abs(number) <= 2**1023:
        assert_ordered(number, float(number))


@given(decimals.filter(lambda number: number.is_finite()), st.integers(0, 40))
def test_a_decimal_has_one_sort_key_however_it_is_written(number: D, zeros: int) -> None:
    """Zeros at the end change nothing."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    assert sort_key(number) == sort_key(D((sign, (*digits, *[0] * zeros), exponent - zeros)))


def test_kinds_follow_one_another() -> None:
    """None < False < True < numbers < str < bytes < date < datetime < time < timedelta < Decimal < UUID < tuples."""
    utc = dt.timezone.utc
    ladder = [
        None,
        False,
        True,
        -INF,
        -(10**3000),
        -1e308,
        -(2**200),
        -(2**64),
        -(2**63) - 1,
        -(2**63),
        -(2**53) - 1,
        float(-(2**53)),
        -1,
        -0.5,
        -1e-300,
        -5e-324,
        0,
        5e-324,
        2.2250738585072014e-308,
        1e-300,
        1e-17,
        0.1,
        0.5,
        1,
        1.0000000000000002,
        127,
        127.5,
        128,
        float(2**53),
        2**53 + 1,
        float(2**53 + 2),
        2**63 - 1,
        float(2**63),
        2**63 + 1,
        2**64 - 1,
        float(2**64),
        2**64 + 1,
        10**308,
        1e308,
        int(1e308) + 1,
        10**3000 - 1,
        10**3000,
        10**3000 + 1,
        INF,
        math.nan,
        "",
        "\0",
        "\0\0",
        "\0\1",
        "\1",
        "\2",
        "a",
        "a\0",
        "a\0a",
        "a\1",
        "aa",
        "\uffff",
        "\U00010000",
        b"",
        b"\0",
        b"\xff",
        b"\xff\xff",
        dt.date.min,
        dt.date.max,
        dt.datetime.min,
        dt.datetime(2024, 1, 1),
        dt.datetime(2024, 1, 1, fold=1),
        dt.datetime.max,
        dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23, minutes=59))),
        dt.datetime(2024, 1, 1, 1, tzinfo=dt.timezone(-dt.timedelta(hours=1))).replace(hour=0, minute=59),
        dt.datetime(2024, 1, 1, 1, tzinfo=dt.timezone(-dt.timedelta(hours=1))),
        dt.datetime(2024, 1, 1, 2, tzinfo=utc),
        dt.datetime(2024, 1, 1, 2, fold=1, tzinfo=utc),
        dt.datetime(2024, 1, 1, 3, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=23, minutes=59))),
        dt.time.min,
        dt.time.max,
        dt.time(0, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.time(0, tzinfo=utc),
        dt.time(23, tzinfo=dt.timezone(-dt.timedelta(hours=23))),
        dt.timedelta.min,
        dt.timedelta(microseconds=-1),
        dt.timedelta(0),
        dt.timedelta.max,
        D("-Infinity"),
        D("-1E+999999"),
        D("-10"),
        D("-1.55"),
        D("-1.5"),
        D("-1E-999999"),
        D("0E+5"),
        D("1E-999999"),
        D("0.000000001"),
        D("0.00000001"),
        D("1E-7"),
        D("0.000001"),
        D("0.05"),
        D("0.1"),
        D("0.5"),
        D("1.00"),
        D("1.05"),
        D("1.5"),
        D("1.505"),
        D("1.55"),
        D("15"),
        D("1E+19"),
        D("1E+20"),
        D("1E+999999"),
        D("Infinity"),
        D("-NaN"),
        D("NaN"),
        D("NaN1"),
        D("sNaN"),
        uuid.UUID(int=0),
        uuid.UUID(int=2**128 - 1),
        (),
        (None,),
        (None, None),
        (0,),
        (0, ()),
        ("",),
        ("", None),
        ("\0",),
        ((),),
        ((), None),
        ((None,),),
    ]
    for a, b in itertools.combinations(ladder, 2):
        assert sort_key(a) < sort_key(b), (a, b)
        assert not sort_key(b).startswith(sort_key(a)), (a, b)
    for key in ladder:
        assert_ordered(key, key)


def test_zeros_and_nans_are_one_key_each() -> None:
    """0 == 0.0 == -0.0, all float NaNs, Decimal zeros; an integral float and a Decimal of its value are two."""
    assert sort_key(0) == sort_key(0.0) == sort_key(-0.0)
    assert sort_key(math.nan) == sort_key(-math.nan)
    assert sort_key(D("0")) == sort_key(D("-0")) == sort_key(D("0E+999")) == sort_key(D("0.000"))
    assert sort_key(D(1)) != sort_key(1)


def test_far_exponents_and_long_keys_stay_short() -> None:
    """1E+999999999 makes no digits; a str takes its length and 2, a small int 2, a float 13 at most."""
    assert len(sort_key(D("1E+999999999999999999"))) == len(sort_key(D("1E-999999999999999999"))) == 10
    assert len(sort_key("x" * 60000)) == 60002
    assert len(sort_key(100)) == len(sort_key(-100)) == 2
    assert max(len(sort_key(number)) for number in (0.1, 1 / 3, 5e-324, 1.7976931348623157e308)) <= 13


# -- prefixes of tuples ------------------------------------------------------------------------------------------------


def prefix_of(elements: tuple[object, ...]) -> bytes:
    """The beginning of the sort keys of all tuples that begin with these elements."""
    return _codec.sortkey_prefix(b"".join(map(_codec.encode_key, elements)), len(elements))


@given(st.lists(keys, max_size=4).map(tuple), st.lists(keys, max_size=4).map(tuple), st.integers(0, 4))
def test_a_prefix_leads_to_the_tuples_that_begin_with_it(a: tuple[Any, ...], b: tuple[Any, ...], n: int) -> None:
    """The sort key of a tuple begins with the prefix of n elements exactly if its first n elements equal these."""
    head = a[:n]
    prefix = prefix_of(head)
    for key in (a, b, (*head, *b), (head, *b)):
        begins = place(key[: len(head)]) == place(head)
        assert sort_key(key).startswith(prefix) == begins
        assert (prefix <= sort_key(key) < prefix + b"\xff") == begins


@given(st.lists(keys, max_size=3).map(tuple), keys)
def test_a_prefix_lies_before_its_tuples_and_apart_from_other_keys(head: tuple[Any, ...], other: object) -> None:
    """What is no tuple never begins with a prefix."""
    if not isinstance(other, tuple):
        assert not sort_key(other).startswith(prefix_of(head))


# -- what is no key ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [[], [1], {}, {1: 2}, {1}, frozenset(), bytearray(b"x"), ([],), (1, ({},))], ids=repr)
def test_what_may_be_no_key_has_no_sort_key(value: object) -> None:
    """Lists, dicts, sets and bytearrays, at any depth."""
    with pytest.raises(ValueError, match="not the encoding of a key"):
        _codec.sortkey(_codec.encode(value))


@given(keys)
def test_a_key_cut_short_or_with_more_behind_it_is_refused(key: object) -> None:
    """Every proper prefix of an encoding, and the encoding with a byte behind it."""
    encoded = _codec.encode_key(key)
    cuts = [encoded[:n] for n in range(min(len(encoded), 60))]
    for damaged in [*cuts, encoded[:-1], encoded + b"\0"]:
        with pytest.raises(ValueError, match="not the encoding of a key"):
            _codec.sortkey(damaged)
        with pytest.raises(ValueError, match="not the encoding of a key"):
            _codec.sortkey_prefix(damaged, 1)


def extension(kind: int, payload: bytes) -> bytes:
    """An extension term."""
    return bytes([0xC7, len(payload), kind]) + payload


@pytest.mark.parametrize(
    "damaged",
    [
        extension(1, b"\x91"),  # a tuple without its element
        extension(1, b"\x90\x01"),  # with one too many
        extension(1, b"\xdd\xff\xff\xff\xff\x01"),
        extension(2, b"\x00"),  # an int without magnitude
        extension(2, b"\x02\x01"),  # of a third sign
        *(extension(6, text) for text in (b"", b"-", b".", b"1.2.3", b"1e+5", b"1E5", b"E+5", b"nan", b"NaNx", b"+1")),
        extension(6, b"1E+99999999999999999999"),
        extension(7, b"x" * 15),
        extension(8, bytes(4)),
        extension(8, b"\xff" * 4),
        extension(9, b"\0\0\0\1" + b"\xff" * 8 + b"\0"),
        extension(9, b"\0\0\0\1" + bytes(8) + b"\2"),
        extension(9, b"\0\0\0\1" + bytes(9) + b"\x7f" + bytes(7)),
        extension(10, bytes(8)),
        extension(11, b"\x7f" + bytes(11)),
        extension(11, bytes(4) + b"\xff" * 8),
        extension(12, b"x"),
        extension(99, b"x"),
        b"\xc1",
    ],
    ids=bytes.hex,
)
def test_damaged_keys_are_refused(damaged: bytes) -> None:
    """Payloads of the wrong length, out of range, or not written as Python writes them."""
    for bad in (damaged, extension(1, b"\x92" + damaged + b"\x01")):
        with pytest.raises(ValueError, match="not the encoding of a key"):
            _codec.sortkey(bad)


def test_foreign_spellings_have_the_sort_key_of_the_value() -> None:
    """Longer forms and 32-bit floats, as a program in another language might write them."""
    assert _codec.sortkey(b"\xd3" + bytes(7) + b"\x05") == sort_key(5)
    assert _codec.sortkey(extension(2, b"\x01" + bytes(9) + b"\x05")) == sort_key(-5)
    assert _codec.sortkey(extension(2, b"\x01" + bytes(9))) == sort_key(0)
    assert _codec.sortkey(b"\xca\x3f\x00\x00\x00") == sort_key(0.5)
    assert _codec.sortkey(b"\xca\x00\x00\x00\x01") == sort_key(2.0**-149)
    assert _codec.sortkey(b"\xca\xff\xc0\x00\x00") == sort_key(math.nan)
    assert _codec.sortkey(b"\xdb\0\0\0\1a") == sort_key("a")


def test_keys_nest_100_deep_and_no_deeper() -> None:
    """As the codec has it."""
    key: tuple[Any, ...] = ()
    for _ in range(99):
        key = (key,)
    encoded = _codec.encode_key(key)
    assert len(_codec.sortkey(encoded)) == 200
    deeper = b"\xc8" + (len(encoded) + 1).to_bytes(2, "big") + b"\x01\x91" + encoded
    with pytest.raises(ValueError, match="not the encoding of a key"):
        _codec.sortkey(deeper)
    with pytest.raises(ValueError, match="not the encoding of a key"):
        _codec.sortkey_prefix(deeper, 1)


def test_the_longest_keys_fit() -> None:
    """65,541 bytes encoded, of what takes most room; one more is refused."""
    for key in ("\0" * 65536, (0,) * 65500, (-1,) * 65500, ("",) * 65500):
        assert len(sort_key(key)) > 65000
    with pytest.raises(ValueError, match="not the encoding of a key"):
        _codec.sortkey(b"\xdb" + (65537).to_bytes(4, "big") + bytes(65537))
