# SPDX-License-Identifier: Apache-2.0
"""The codec extension: what goes in comes out equal and of the same types, or is refused; and how it calls the core."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import decimal
import enum
import math
import random
import struct
import subprocess
import sys
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tablemgr import _codec

# -- what may be stored ------------------------------------------------------------------------------------------------

day = dt.timedelta(days=1)
zones = (
    st.none()
    | st.just(dt.timezone.utc)
    | st.timedeltas(min_value=-day + dt.timedelta(microseconds=1), max_value=day - dt.timedelta(microseconds=1)).map(
        dt.timezone
    )
)


def with_zone_and_fold(moments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Datetimes or times in any zone that is offered, on either side of a fold."""
    return st.builds(
        lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), moments, zones, st.integers(0, 1)
    )


key_atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | with_zone_and_fold(st.datetimes())
    | with_zone_and_fold(st.times())
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
)
keys = st.recursive(key_atoms, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=6)
hashables = st.recursive(
    key_atoms.filter(lambda value: not (isinstance(value, decimal.Decimal) and value.is_snan())),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
values = st.recursive(
    key_atoms | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(hashables, inner, max_size=5)
        | st.sets(hashables, max_size=5)
        | st.frozensets(hashables, max_size=5)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of the same types at every depth; all NaNs are one, 0.0 and -0.0 are two."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or struct.pack("d", left) == struct.pack("d", right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, (set, frozenset)):
        return sorted(map(_codec.encode, left)) == sorted(map(_codec.encode, right))
    if isinstance(left, decimal.Decimal):
        return str(left) == str(right)
    if isinstance(left, (dt.datetime, dt.time)):
        return bool(left == right and left.fold == right.fold and left.utcoffset() == right.utcoffset())
    return bool(left == right)


@given(values)
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_value_comes_out_equal_and_of_the_same_types(value: Any) -> None:
    """encode and decode are inverses, type-strictly, at every depth."""
    assert same(_codec.decode(_codec.encode(value)), value)


@given(st.lists(values, max_size=4), keys)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_row_comes_out_as_the_tuple_it_was(rest: list[Any], key: Any) -> None:
    """encode_row and decode_row are inverses at every key position."""
    for keypos in range(len(rest) + 1):
        row = (*rest[:keypos], key, *rest[keypos:])
        assert same(_codec.decode_row(_codec.encode_row(row, keypos)), row)


@given(keys, keys)
@settings(max_examples=500, deadline=None)
def test_keys_have_equal_bytes_exactly_when_they_are_the_same(left: Any, right: Any) -> None:
    """Bytes decide whether two keys are one."""
    assert (_codec.encode_key(left) == _codec.encode_key(right)) == same(left, right)
    assert _codec.encode_key(left) == _codec.encode(left)


ONE_APART = [1, 1.0, True, "1", b"1", decimal.Decimal(1), decimal.Decimal("1.0"), (1,), (1.0,), (True,), None, 0, 0.0]
ONE_APART += [-0.0, False, "", b"", (), ((),), math.nan, math.inf, -math.inf, 2**64, -(2**64), "2", dt.timedelta(1)]
ONE_APART += [dt.date(2000, 1, 1), dt.datetime(2000, 1, 1), dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)]
ONE_APART += [dt.datetime(2000, 1, 1, fold=1), dt.time(0), dt.time(0, fold=1), dt.time(0, tzinfo=dt.timezone.utc)]


def test_keys_that_python_takes_for_equal_are_told_apart_by_type() -> None:
    """1, 1.0 and True are three keys, 0.0 and -0.0 two, Decimals keys as written."""
    assert len({_codec.encode_key(key) for key in ONE_APART}) == len(ONE_APART)


def test_all_nans_are_one_key() -> None:
    """Sign and payload of a NaN do not reach the bytes."""
    others = [
        struct.unpack("<d", struct.pack("<Q", bits))[0]
        for bits in (0xFFF8 << 48, 0x7FF8000000000001, (0x7FF << 52) + 1)
    ]
    assert {_codec.encode_key(nan) for nan in [math.nan, *others]} == {bytes.fromhex("cb7ff8000000000000")}


def test_sets_have_one_encoding_whatever_their_history() -> None:
    """The order of insertion, which decides how a set iterates, does not reach the bytes."""
    numbers = [8 * i for i in range(50)] + ["a", "b", (1, 2), frozenset({1, 2})]
    encodings = set()
    for seed in range(20):
        random.Random(seed).shuffle(numbers)
        encodings.add((_codec.encode(set(numbers)), _codec.encode(frozenset(numbers))))
    assert len(encodings) == 1


def test_the_letter_of_an_exponent_does_not_depend_on_the_decimal_context() -> None:
    """A context that writes 1e+30 makes the same key as one that writes 1E+30."""
    number = decimal.Decimal("1E+30")
    upper = _codec.encode_key(number)
    with decimal.localcontext() as context:
        context.capitals = 0
        assert _codec.encode_key(number) == upper


WIRE: list[tuple[Any, str]] = [
    (None, "c0"),
    (True, "c3"),
    (127, "7f"),
    (128, "cc80"),
    (256, "cd0100"),
    (65536, "ce00010000"),
    (2**32, "cf0000000100000000"),
    (2**64 - 1, "cfffffffffffffffff"),
    (2**64, "c70a02000100000000" + "00000000"),
    (-32, "e0"),
    (-33, "d0df"),
    (-129, "d1ff7f"),
    (-(2**31), "d280000000"),
    (-(2**63), "d38000000000000000"),
    (-(2**63) - 1, "c70902018000000000000001"),
    (0.5, "cb3fe0000000000000"),
    ("ä", "a2c3a4"),
    ("x" * 32, "d920" + "78" * 32),
    (b"ab", "c4026162"),
    ([1, (2,)], "9201d5019102"),
    ({"a": {3, 1, 2}}, "81a161d60393010203"),
    (frozenset(), "d40490"),
    (bytearray(b"abc"), "c70305616263"),
    (decimal.Decimal("-0.0"), "d6062d302e30"),
    (uuid.UUID(int=1), "d807" + "00" * 15 + "01"),
    (dt.date(1, 1, 1), "d60800000001"),
    (dt.datetime(1, 1, 2, 0, 0, 1, fold=1), "c70d090000000200000000000f424001"),
    (
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(-dt.timedelta(seconds=1))),
        "c71509" + "00000001" + "00" * 9 + "fffffffffff0bdc0",
    ),
    (dt.time(0, 0, 0, 1), "c7090a000000000000000100"),
    (dt.timedelta(-1, 2, 3), "c70c0bffffffff0000000200000003"),
]


@pytest.mark.parametrize(("value", "hexadecimal"), WIRE, ids=[repr(value)[:40] for value, _ in WIRE])
def test_the_bytes_are_those_of_the_documented_format(value: Any, hexadecimal: str) -> None:
    """The wire format is a contract with programs in other languages."""
    assert _codec.encode(value).hex() == hexadecimal
    assert same(_codec.decode(bytes.fromhex(hexadecimal)), value)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_length_of_header_is_read_back(n: int) -> None:
    """Lengths on both sides of each form of a header."""
    for value in [
        "x" * n,
        "ä" * n,
        b"x" * n,
        bytearray(n),
        [None] * n,
        (None,) * n,
        dict.fromkeys(range(n)),
        set(range(n)),
    ]:
        assert same(_codec.decode(_codec.encode(value)), value)


def test_forms_that_other_programs_may_write_are_read() -> None:
    """Not the smallest form, float32, and arrays and maps with wide counts decode too."""
    assert _codec.decode(bytes.fromhex("cf0000000000000001")) == 1
    assert _codec.decode(bytes.fromhex("d3ffffffffffffffff")) == -1
    assert _codec.decode(bytes.fromhex("ca3fc00000")) == 1.5
    assert _codec.decode(bytes.fromhex("dd00000001df00000001db00000001" + "61" + "dc0000")) == [{"a": []}]


# -- what is refused ---------------------------------------------------------------------------------------------------


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Text(str):
    __slots__ = ()


class Moment(dt.datetime):
    pass


class Amount(decimal.Decimal):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, _when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def dst(self, _when: dt.datetime | None) -> None:
        return None

    def tzname(self, _when: dt.datetime | None) -> None:
        return None


SUBCLASSES = [
    (Colour.RED, "Colour", "int"),
    (Point(1, 2), "Point", "tuple"),
    (Text("x"), "Text", "str"),
    (Moment(2000, 1, 1), "Moment", "datetime"),
    (Amount(1), "Amount", "Decimal"),
    (collections.OrderedDict(), "OrderedDict", "dict"),
    (collections.defaultdict(int), "defaultdict", "dict"),
    (collections.Counter(), "Counter", "dict"),
]


@pytest.mark.parametrize(("value", "name", "base"), SUBCLASSES, ids=[name for _, name, _ in SUBCLASSES])
def test_subclasses_are_refused_and_the_message_says_what_to_do(value: Any, name: str, base: str) -> None:
    """A subclass holds more than its base's bytes can say: TypeError with type, position, conversion and codec."""
    with pytest.raises(TypeError) as caught:
        _codec.encode_row(("key", [{"a": value}]), 0)
    message = str(caught.value)
    assert message.startswith('row[1][0]["a"]: ')
    assert f"{name}, a subclass of {base}" in message
    assert f"convert it to {base}" in message
    assert 'codec="pickle"' in message


@pytest.mark.parametrize(
    ("row", "position"),
    [
        ((object(),), "row[0]"),
        ((1, object()), "row[1]"),
        ((1, 2, {"a": [object()]}), 'row[2]["a"][0]'),
        ((1, {(1, 2): {3: object()}}), "row[1][(1, 2)][3]"),
        ((1, (1, [2, (3, object())])), "row[1][1][1][1]"),
        ((1, {object(): 1}), "row[1] (a key of this dict)"),
        ((1, [{object()}]), "row[1][0] (an element of this set)"),
        ((1, frozenset({(0, object())})), "row[1] (an element of this set)[1]"),
        (((1, (2, object())), 1), "row[0][1][1]"),
    ],
)
def test_an_unsupported_value_is_named_with_its_position(row: tuple[Any, ...], position: str) -> None:
    """The message leads to the one value that cannot be stored."""
    with pytest.raises(TypeError) as caught:
        _codec.encode_row(row, 0)
    assert str(caught.value).startswith(f"{position}: ")
    assert "type object" in str(caught.value)
    assert 'codec="pickle"' in str(caught.value)


@pytest.mark.parametrize("value", [[], {}, set(), frozenset(), bytearray(), (1, []), object(), 1j, Ellipsis, int, len])
def test_what_can_be_no_key_is_refused(value: Any) -> None:
    """Keys are immutable values with an order, and tuples of them; also with codec="pickle"."""
    for pickle in (False, True):
        with pytest.raises(TypeError, match=r"^row\[0\](\[1\])?: .* in a key"):
            _codec.encode_row((value, 1), 0, pickle=pickle)
    with pytest.raises(TypeError, match=r"^key(\[1\])?: "):
        _codec.encode_key(value)


def test_a_key_has_64_kib_at_most() -> None:
    """A longer key is a ValueError that says how long it is."""
    assert len(_codec.encode_key(b"x" * 65536)) == 65541
    with pytest.raises(ValueError, match=r"key: a key of 65542 bytes is too long: at most 65541"):
        _codec.encode_key(b"x" * 65537)


@pytest.mark.parametrize("row", [[1, 2], Point(1, 2), None, "ab", {1: 2}])
def test_a_row_is_exactly_a_tuple(row: Any) -> None:
    """Lists and named tuples would not come out as what they were."""
    with pytest.raises(TypeError, match="a row is a tuple"):
        _codec.encode_row(row, 0)


def test_a_row_without_a_place_for_the_key_is_refused() -> None:
    """A row shorter than the key position: ValueError."""
    for row in [(), (1,), (1, 2)]:
        with pytest.raises(ValueError, match="has no key: this table has it at position 2"):
            _codec.encode_row(row, 2)


def test_lone_surrogates_are_refused_with_their_position() -> None:
    """They have no UTF-8; the message says where they are."""
    for text in ["\ud800", "a\udfff", "\U0001f600\udc00"]:
        with pytest.raises(ValueError, match=r"row\[1\]\[0\]: .*lone surrogate") as caught:
            _codec.encode_row((1, [text]), 0)
        assert f"index {len(text) - 1}" in str(caught.value)


def test_time_zones_other_than_timezone_are_refused() -> None:
    """A zone's rules are not stored; with codec="pickle" the value is pickled."""
    for moment in [dt.datetime(2000, 1, 1, tzinfo=Zone()), dt.time(1, tzinfo=Zone())]:
        with pytest.raises(TypeError, match=r"^value: .*Zone.*timezone"):
            _codec.encode(moment)


def nested(depth: int, wrap: Any) -> Any:
    """Empty containers, one in the other."""
    value: Any = wrap(None)
    for _ in range(depth - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: frozenset({v})],
    ids=["list", "tuple", "dict", "frozenset"],
)
def test_values_nest_100_deep_and_no_deeper(wrap: Any) -> None:
    """The limit holds for every container, and an encoding that breaks it does not decode."""
    value = nested(100, wrap)
    assert same(_codec.decode(_codec.encode(value)), value)
    assert _codec.decode_row(_codec.encode_row((1, value), 0))[0] == 1
    with pytest.raises(ValueError, match="nested deeper than 100"):
        _codec.encode(nested(101, wrap))
    inside = _codec.encode(value)
    with pytest.raises(ValueError, match="nested deeper than 100"):
        _codec.decode(b"\x91" + inside)


def test_a_list_in_itself_is_refused() -> None:
    """It is nested deeper than any limit."""
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(ValueError, match="nested deeper"):
        _codec.encode(ring)


# -- pickle ------------------------------------------------------------------------------------------------------------


class Plain:
    """A class that only pickle can store."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


PICKLED = [Plain(1), [Plain(1), {"a": Plain(2)}], {Plain(1)}, Colour.RED, Point(1, 2), 1j, collections.OrderedDict(a=1)]
PICKLED += [dt.datetime(2000, 1, 1, tzinfo=Zone()), Text("x"), Moment(2000, 1, 1), range(3), int]


@pytest.mark.parametrize("value", PICKLED, ids=lambda value: repr(value)[:30])
def test_with_pickle_any_picklable_value_comes_out_equal(value: Any) -> None:
    """codec="pickle" takes what msgpack does not, at any depth, subclasses as themselves."""
    data = _codec.encode(value, pickle=True)
    back = _codec.decode(data, pickle=True)
    assert back == value
    assert type(back) is type(value)


def test_pickled_values_are_not_unpickled_unasked() -> None:
    """A reader without codec="pickle" runs nobody's code."""
    with pytest.raises(ValueError, match='codec="pickle"'):
        _codec.decode(_codec.encode([Plain(1)], pickle=True))


def test_what_cannot_be_pickled_is_named_with_its_position() -> None:
    """The reason that pickle gave is the cause."""
    with pytest.raises(TypeError, match=r"^row\[1\]\[0\]: cannot pickle a value of type function") as caught:
        _codec.encode_row((1, [lambda: None]), 0, pickle=True)
    assert caught.value.__cause__ is not None


class Meddler:
    """Changes a container while it is being stored."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def __reduce__(self) -> Any:
        self.change()
        return (int, ())


def test_a_container_that_changes_while_it_is_stored_is_refused() -> None:
    """What pickle runs may change what is being stored: no crash, and no half of it."""
    items: list[Any] = [1, 2, 3]
    items[1] = Meddler(items.clear)
    mapping: dict[Any, Any] = {1: 1, 2: 2}
    mapping[1] = Meddler(mapping.clear)
    growing: dict[Any, Any] = {1: 1}
    growing[1] = Meddler(lambda: growing.update(dict.fromkeys(range(1000))))
    for container in (items, mapping, growing):
        with pytest.raises(ValueError, match="changed its length"):
            _codec.encode(container, pickle=True)


# -- numpy -------------------------------------------------------------------------------------------------------------


def test_numpy_scalars_are_the_numbers_they_are() -> None:
    """Integers, floats and booleans of numpy, as keys too; its other scalars are refused."""
    numpy = pytest.importorskip("numpy")
    for value, plain in [
        (numpy.int8(-1), -1),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.float32(0.5), 0.5),
        (numpy.float64(0.1), 0.1),
        (numpy.bool_(True), True),
    ]:
        assert _codec.encode(value) == _codec.encode(plain)
        assert _codec.encode_key((value,)) == _codec.encode_key((plain,))
    for value in [numpy.longdouble(1), numpy.complex128(1), numpy.str_("x"), numpy.datetime64("2000"), numpy.zeros(2)]:
        with pytest.raises(TypeError):
            _codec.encode(value)


def test_numpy_is_not_imported_for_that() -> None:
    """Whoever does not use numpy does not pay for it."""
    program = "import sys; from tablemgr import _codec; _codec.encode([1, {2.0}]); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- damaged bytes -----------------------------------------------------------------------------------------------------


@given(values)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_an_encoding_that_is_cut_off_or_too_long_does_not_decode(value: Any) -> None:
    """Every proper beginning of an encoding is a ValueError, and so is anything behind its end."""
    data = _codec.encode(value)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cut off"):
            _codec.decode(data[:end])
    with pytest.raises(ValueError, match="more behind the end"):
        _codec.decode(data + b"\xc0")


@given(values, st.randoms(use_true_random=False))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_damaged_bytes_decode_to_something_or_are_a_value_error(value: Any, rng: random.Random) -> None:
    """Whatever the bytes: an object that can be stored again, or ValueError; no other exception, no crash."""
    original = _codec.encode([value])
    for _ in range(30):
        data = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), 0xC0 + rng.randrange(32), 0xFF, 0])
        try:
            decoded = _codec.decode(bytes(data))
        except ValueError:
            continue
        assert same(_codec.decode(_codec.encode(decoded)), decoded)


@given(st.binary(max_size=200))
@settings(max_examples=1000, deadline=None)
def test_random_bytes_decode_to_something_or_are_a_value_error(data: bytes) -> None:
    """As above, from nothing."""
    for function in (_codec.decode, _codec.decode_row):
        with contextlib.suppress(ValueError):
            function(data)


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "dd7fffffff",  # counts that promise more than there is
        "df7fffffff",
        "c67fffffff",
        "c97fffffff05",
        "c1",
        "d40100",  # a tuple that is no array
        "d50192c0",
        "d40200",  # a big int without digits
        "d5020201",  # a sign of 2
        "c7010661",  # a Decimal that is none
        "c7020665",
        "d70700",
        "d608ffffffff",
        "d60800000000",
        "c70d0900000001ffffffffffffffff00",
        "c70d09000000010000000000000000" + "02",
        "c71509" + "00000001" + "00" * 9 + "000000141dd76000",
        "c70c0b7fffffff0000000000000000",
        "c70c0b000000000001518000000000",
        "d4ff00",
        "d40d00",
        "d5039190",  # a set of a list
        "8190c0",  # a list as a dict's key
        "a1ff",  # no UTF-8
        "a3eda080",  # a lone surrogate in UTF-8
    ],
)
def test_a_value_out_of_range_is_a_value_error(hexadecimal: str) -> None:
    """Bytes that are msgpack but no value of ours."""
    with pytest.raises(ValueError, match="decode"):
        _codec.decode(bytes.fromhex(hexadecimal))
