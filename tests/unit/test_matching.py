# SPDX-License-Identifier: Apache-2.0
"""Patterns, guards and bodies: what the compiled programs decide over rows, against an interpreter in Python."""

from __future__ import annotations

import ctypes
import datetime as dt
import math
import operator
import pickle
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings, strategies as st

from tablemgr import _codec, match_code, match_functions as m, matching
from tablemgr.errors import BadMatchError
from tablemgr.match_compiler import Use
from tablemgr.match_program import Program, Query, delete_query, match_query, object_query
from tablemgr.matching import ANY, ROW, VARS, Call, Clause, Expression, Variable, var
from tests.support.core import core

ROOT = Path(__file__).resolve().parents[2]
OUT = ctypes.create_string_buffer(1 << 20)
LENGTH = ctypes.c_size_t()
CLAUSE = ctypes.c_uint32()
driver_match = core().driver_match
driver_match.argtypes = [
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_uint32),
]
OK, ABSENT, BAD_OPTION = 0, 1, 21
NOTHING = "no clause applies"
v0, v1, v2, v3 = (var(n) for n in range(4))


class Point(NamedTuple):
    """A tuple that is none of those that rows and patterns are."""

    x: Any


def run_bytes(code: bytes, row: bytes) -> tuple[int, bytes]:
    """Status and result of a program over a row."""
    status = driver_match(code, len(code), row, len(row), OUT, len(OUT), LENGTH, CLAUSE)
    return status, OUT.raw[: LENGTH.value] if status == OK else b""


def run(row: tuple[Any, ...], *clauses: Clause, **use: Any) -> Any:
    """What the clauses make of a row, or NOTHING."""
    program = Query(*clauses).program(Use(**use))
    status, result = run_bytes(program.code, _codec.encode_row(row, 0))
    assert status in (OK, ABSENT)
    return _codec.decode(result) if status == OK else NOTHING


def matches(row: tuple[Any, ...], pattern: Any, **use: Any) -> Any:
    """The bound values, or NOTHING."""
    return run(row, Clause(pattern, (), VARS), **use)


def value_of(body: Any, *values: Any) -> Any:
    """The value of an expression over v1, v2, ... with these values, or NOTHING."""
    return run((0, *values), Clause((ANY, *(var(n) for n in range(1, len(values) + 1))), (), body))


# -- the two halves agree ----------------------------------------------------------------------------------------------


def enumerators(header: str, prefix: str) -> list[str]:
    """The names of an enumeration in a header, in order."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "csrc" / header).read_text(), flags=re.DOTALL)
    body = re.search(rf"enum {prefix} {{(.*?)}}", text, flags=re.DOTALL)
    assert body is not None
    return re.findall(r"\w+", body[1])


def test_the_compiler_and_the_core_have_the_same_instructions() -> None:
    """Names and numbers of instructions, of calculations and of kinds."""
    assert enumerators("match_code.h", "match_op") == [f"MATCH_{name}" for name in [*match_code.OPS, "OPS"]]
    names = [f"ARITHMETIC_{name}" for name in [*match_code.ARITHMETIC, "OPS"]]
    assert enumerators("arithmetic.h", "arithmetic_op") == names
    kinds = [f"VIEW_{name}" for name in [*match_code.KINDS, "PICKLE", "EXTENSION", "MALFORMED"]]
    assert enumerators("view.h", "view_kind") == kinds


def test_every_function_of_the_language_has_an_instruction() -> None:
    """What matching.py and match_functions.py make, match_code.py knows."""
    source = "".join((ROOT / "tablemgr" / name).read_text() for name in ("matching.py", "match_functions.py"))
    made = set(re.findall(r'(?:Call|_fold)\("([^"]+)"', source))
    assert made == set(match_code.CALLS) | {"and_", "or_"}


# -- patterns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "pattern", "bound"),
    [
        ((1, 2), ANY, ()),
        ((1, 2), v1, ((1, 2),)),
        ((1, 2), (ANY, ANY), ()),
        ((1, 2), (ANY,), NOTHING),
        ((1, 2), (ANY, ANY, ANY), NOTHING),
        ((1, 2), (v1, v2), (1, 2)),
        ((1, 2), (v2, v1), (2, 1)),
        (("a", "b", "c"), (v3, v1, v2), ("b", "c", "a")),
        ((1, 2), (v0, ANY), (1,)),
        ((1, 2), (var(100_000_000), ANY), (1,)),
        ((1, 1), (v1, v1), (1,)),
        ((1, 1.0), (v1, v1), NOTHING),
        ((1, True), (v1, v1), NOTHING),
        ((1, (2, 1)), (v1, (ANY, v1)), (1,)),
        ((1, 2), (1, ANY), ()),
        ((1, 2), (1.0, ANY), NOTHING),
        ((1, 2), (True, ANY), NOTHING),
        ((1, math.nan), (1, math.nan), ()),
        ((1, 0.0), (1, -0.0), NOTHING),
        ((1, "x"), (1, b"x"), NOTHING),
        ((1, (2, 3)), (1, (v1, 3)), (2,)),
        ((1, (2, 3)), (1, [v1, 3]), NOTHING),
        ((1, [2, 3]), (1, [v1, 3]), (2,)),
        ((1, [2, 3]), (1, (v1, 3)), NOTHING),
        ((1, [2, 3, 4], 5), (1, [v1, ANY, ANY], v2), (2, 5)),
        ((1, [2, 3, 4], 5), (1, [v1, ANY], v2), NOTHING),
        ((1, (2, 3, 4), 5), (1, (v1, ANY, ANY), v2), (2, 5)),
        ((1, ()), (1, ()), ()),
        ((1, (((2,),),)), (1, (((v1,),),)), (2,)),
        ((1, {"a": 1, "b": 2}), (1, {}), ()),
        ((1, {"a": 1, "b": 2}), (1, {"a": 1}), ()),
        ((1, {"a": 1, "b": 2}), (1, {"b": v2, "a": v1}), (1, 2)),
        ((1, {"a": 1}), (1, {"a": 2}), NOTHING),
        ((1, {"a": 1}), (1, {"b": ANY}), NOTHING),
        ((1, {"a": 1}), (1, {"a": ANY, "b": ANY}), NOTHING),
        ((1, {1: 1}), (1, {1.0: ANY}), NOTHING),
        ((1, {"a": {"b": [1, {"c": 2, "d": 3}]}}, 7), (1, {"a": {"b": [1, {"c": v1}]}}, v2), (2, 7)),
        ((1, [{"a": 1, "b": 2}]), (1, [{"a": 1}]), ()),
        ((1, {"a": 1}), (1, []), NOTHING),
        ((1, {2, 3}), (1, {3, 2}), ()),
        ((1, {2}), (1, frozenset({2})), NOTHING),
        ((1, None), (1, None), ()),
        ((1, 10**50), (1, 10**50), ()),
        ((1, Decimal("1.0")), (1, Decimal("1.00")), NOTHING),
        ((1, list(range(100))), (1, [v1, *[ANY] * 99]), (0,)),
        ((1, *range(99)), (v1, *[ANY] * 99), (1,)),
    ],
)
def test_patterns(row: tuple[Any, ...], pattern: Any, bound: Any) -> None:
    """What matches by type and value, element by element; dicts by the items they have to have."""
    assert repr(matches(row, pattern)) == repr(bound)


@pytest.mark.parametrize(
    ("row", "pattern", "keypos", "bound"),
    [
        ((1, 1), (1.0, v1), 0, NOTHING),
        ((1, 1), (1, v1), 0, (1,)),
        ((1, 1), (v1, 1.0), 1, NOTHING),
        (((1, "a"), 1), ((1.0, v1), ANY), 0, NOTHING),
        (((1.0, "a"), 1), ((1.0, v1), ANY), 0, ("a",)),
        (((1, Decimal("1.0")), 1), ((1, Decimal("1.00")), v1), 0, NOTHING),
        (((1, 1), 1), ((v1, v1), 1), 0, (1,)),
        (((1, 1.0), 1), ((v1, v1), 1), 0, NOTHING),
        ((-0.0, 1), (0, v1), 0, NOTHING),
        ((True, 1), (1, v1), 0, NOTHING),
    ],
)
def test_keys_of_an_ordered_set_match_by_type_as_well(row: Any, pattern: Any, keypos: int, bound: Any) -> None:
    """Though 1 and 1.0 are one key: as in ETS a pattern asks for the very key."""
    assert matches(row, pattern, keypos=keypos, ordered=True) == bound


def test_a_variable_for_the_row_is_the_row() -> None:
    """In guards, in bodies, and as the body."""
    assert run((1, 2), Clause(v1, [m.size(v1) == 2], v1)) == (1, 2)
    assert run((1, 2), Clause(v1, [m.element(v1, 1) == 2], (v1, 3))) == ((1, 2), 3)
    assert run((1, 2), Clause(v1, (), VARS)) == ((1, 2),)


def test_the_first_clause_that_applies_decides() -> None:
    """Also where a later one would give another result; a clause that fails lets the next one try."""
    assert run((1,), Clause(ANY, (), False), Clause(ANY, (), True)) is False
    assert run((1,), Clause((2,), (), "a"), Clause((v1,), [v1 > 1], "b"), Clause((v1,), (), "c")) == "c"
    assert run((1,), Clause((v1,), [v1 / 0 == 1], "a"), Clause((v1,), (), v1 // 0), Clause(ANY, (), "c")) == "c"


def test_the_queries_of_the_match_family() -> None:
    """Bound values, rows, True."""
    row = _codec.encode_row((1, 2), 0)
    results = []
    for query in (match_query((v2, v1)), object_query((v1, ANY)), delete_query((1, ANY))):
        status, result = run_bytes(query.program(Use()).code, row)
        assert status == OK
        results.append(_codec.decode(result))
    assert results == [(2, 1), (1, 2), True]


# -- expressions, one by one -------------------------------------------------------------------------------------------

big = 2**200 + 12345


@pytest.mark.parametrize(
    ("body", "values", "result"),
    [
        (v1, ["a"], "a"),
        ("constant", [], "constant"),
        (ROW, [5], (0, 5)),
        (VARS, [5, 6], (5, 6)),
        ((v1, (v2, [v1, {"k": v2, v1: 3}])), [1, 2], (1, (2, [1, {"k": 2, 1: 3}]))),
        ({v1: 1, v2: 2}, ["a", "a"], {"a": 2}),
        ({v1: 1}, [[1]], NOTHING),
        ((ROW, 1), [5], ((0, 5), 1)),
        (m.element(ROW, 1), [5], 5),
        (m.element(ROW, v1), [1], 1),
        (m.element(ROW, 2), [5], NOTHING),
        (m.element(v1, 0), [(1, 2)], 1),
        (m.element(v1, 1), [[1, 2]], 2),
        (m.element(v1, 2), [[1, 2]], NOTHING),
        (m.element(v1, -1), [[1, 2]], NOTHING),
        (m.element(v1, True), [[1, 2]], NOTHING),
        (m.element(v1, 0.0), [[1, 2]], NOTHING),
        (m.element(v1, 2**64), [[1, 2]], NOTHING),
        (m.element(v1, 0), ["ab"], NOTHING),
        (m.element(m.element(v1, 1), 0), [(1, [7])], 7),
        (m.size(v1), ["añ€😀"], 4),
        (m.size(v1), [b"abc"], 3),
        (m.size(v1), [bytearray(b"abcd")], 4),
        (m.size(v1), [(1, 2)], 2),
        (m.size(v1), [[1, 2, 3]], 3),
        (m.size(v1), [{1: 2}], 1),
        (m.size(v1), [{1, 2}], 2),
        (m.size(v1), [frozenset()], 0),
        (m.size(v1), [5], NOTHING),
        (m.length(v1), [[1, 2]], 2),
        (m.length(v1), [(1, 2)], NOTHING),
        (m.first(v1), [[1, 2]], 1),
        (m.first(v1), [(1, 2)], 1),
        (m.first(v1), [[]], NOTHING),
        (m.last(v1), [[1, 2]], 2),
        (m.last(v1), [()], NOTHING),
        (m.rest(v1), [[1, 2, 3]], [2, 3]),
        (m.rest(v1), [list(range(20))], list(range(1, 20))),
        (m.rest(v1), [[]], NOTHING),
        (m.rest(v1), [(1,)], NOTHING),
        (m.map_get(v1, "a"), [{"b": 1, "a": 2}], 2),
        (m.map_get(v1, 1.0), [{1: 1}], NOTHING),
        (m.map_get(v1, "a"), [[]], NOTHING),
        (m.is_map_key(v1, "a"), [{"a": 2}], True),
        (m.is_map_key(v1, "b"), [{"a": 2}], False),
        (m.is_map_key(v1, "b"), ["ab"], NOTHING),
        (v1 == v2, [1, 1.0], True),
        (v1 == v2, [1, True], False),
        (v1 == v2, [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}], True),
        (v1 != v2, [1, 1.0], False),
        (m.is_same(v1, v2), [1, 1.0], False),
        (m.is_same(v1, v2), [(1, "a"), (1, "a")], True),
        (v1 < v2, [2**53, 2.0**53], False),
        (v1 < v2, [2.0**53, 2**53 + 1], True),
        (v1 < v2, [5, "a"], True),
        (v1 > 5, [6], True),
        (v1 & v2, [True, False], False),
        (v1 & v2, [False, 1], NOTHING),
        (v1 | v2, [True, 1], NOTHING),
        (v1 | v2, [False, True], True),
        (v1 ^ v2, [True, True], False),
        (~v1, [True], False),
        (~v1, [1], NOTHING),
        (True & v1, [True], True),
        (m.and_(v1, v2), [False, 1], False),
        (m.and_(v1, v2), [True, 1], NOTHING),
        (m.and_(v1, v2), [1, True], NOTHING),
        (m.and_(v1, v2, v1), [True, True], True),
        (m.and_(v1, v2, m.size(5)), [True, False], False),
        (m.and_(v1), [True], True),
        (m.and_(v1), [5], NOTHING),
        (m.or_(v1, v2), [True, 1], True),
        (m.or_(v1, v2), [False, 1], NOTHING),
        (m.or_(v1, v1, v2), [False, True], True),
        (m.or_(m.and_(v1, v2), m.and_(m.not_(v1), v2)), [False, True], True),
        ((m.or_(v1, v2), 5), [False, True], (True, 5)),
        (m.min_(v1, v2), [2, 1], 1),
        (m.min_(v1, v2), [1, 1.0], 1),
        (m.min_(v1, "a", v2), [b"", None], None),
        (m.max_(v1, v2), [2, 1.5], 2),
        (m.max_(v1, v2), [1, 1.0], 1),
        (abs(v1), [-5], 5),
        (m.abs_(v1), [-(2**63)], 2**63),
        (abs(v1), [-0.0], 0.0),
        (abs(v1), ["a"], NOTHING),
        (-v1, [-(2**63)], 2**63),
        (-v1, [True], NOTHING),
        (v1 + 1, [True], NOTHING),
        (v1 + 1, [2**64 - 1], 2**64),
        (v1 + v2, ["a", "b"], NOTHING),
        (v1 / v2, [7, 2], 3.5),
        (v1 / v2, [10**30, 10**29], 10.0),
        (v1 / v2, [1, 0], NOTHING),
        (v1 / v2, [1.0, 0.0], NOTHING),
        (v1 / v2, [10**400, 1], NOTHING),
        (v1 + v2, [10**400, 1.0], NOTHING),
        (v1 // v2, [-7, 2], -4),
        (v1 // v2, [-(2**63), -1], 2**63),
        (v1 % v2, [-(2**63), -1], 0),
        (v1 % v2, [-7, 2], 1),
        (v1 % v2, [-7.5, 2], 0.5),
        (v1 % v2, [7, -2.0], -1.0),
        (v1 % v2, [5.0, math.inf], 5.0),
        (v1 % v2, [-5.0, math.inf], math.inf),
        (v1 // v2, [math.inf, 1.0], math.nan),
        (v1 % 0, [5], NOTHING),
        (m.round_(v1), [2.5], 2),
        (m.round_(v1), [3.5], 4),
        (m.round_(v1), [-0.5], 0),
        (m.round_(v1), [4503599627370497.0], 4503599627370497),
        (m.round_(v1), [0.49999999999999994], 0),
        (m.round_(v1), [7], 7),
        (m.floor(v1), [-0.5], -1),
        (m.floor(v1), [1e300], int(1e300)),
        (m.floor(v1), [-(2.0**63)], -(2**63)),
        (m.ceil(v1), [-0.5], 0),
        (m.ceil(v1), [0.1], 1),
        (m.trunc(v1), [-1.9], -1),
        (m.trunc(v1), [5e-324], 0),
        (m.floor(v1), [math.inf], NOTHING),
        (m.floor(v1), [math.nan], NOTHING),
        (m.float_(v1), [2**53 + 1], 2.0**53),
        (m.float_(v1), [2**1024], NOTHING),
        (m.float_(v1), [1.5], 1.5),
        (m.band(v1, v2), [-1, big], big),
        (m.bor(v1, v2), [-(2**64), 5], -(2**64) + 5),
        (m.bxor(v1, v2), [-(2**64), big], -(2**64) ^ big),
        (m.bnot(v1), [-(2**63)], 2**63 - 1),
        (m.bnot(v1), [1.0], NOTHING),
        (m.band(v1, 1), [1.0], NOTHING),
        (m.bsl(v1, v2), [-5, 100], -5 << 100),
        (m.bsl(v1, v2), [1, -1], NOTHING),
        (m.bsl(v1, v2), [1, 2**70], NOTHING),
        (m.bsl(v1, v2), [0, 2**70], 0),
        (m.bsr(v1, v2), [-5, 1], -3),
        (m.bsr(v1, v2), [-1, 2**70], -1),
        (m.bsr(v1, v2), [2**100, 99], 2),
    ],
)
def test_expressions(body: Any, values: list[Any], result: Any) -> None:
    """Each operator and function at its borders, and where it fails."""
    assert repr(value_of(body, *values)) == repr(result)


def test_ints_end_at_sixteen_thousand_bits() -> None:
    """Exact up to there, and no result beyond."""
    assert value_of(v1 * v2, 2**8000, 2**8000) == 2**16000
    assert value_of(v1 * v2, 2**9000, 2**9000) == NOTHING
    assert value_of(v1 + 1, 2**20000) == NOTHING
    assert value_of(v1 < 2**20001, 2**20000) is True


KIND_VALUES: dict[str, list[Any]] = {
    "is_none": [None],
    "is_bool": [True, False],
    "is_int": [0, -1, 2**70, 300],
    "is_float": [0.0, math.nan],
    "is_number": [5, 5.0, -(2**70)],
    "is_str": ["", "x" * 300],
    "is_bytes": [b""],
    "is_bytearray": [bytearray(b"x")],
    "is_date": [dt.date(2020, 1, 1)],
    "is_datetime": [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)],
    "is_time": [dt.time(1)],
    "is_timedelta": [dt.timedelta(1)],
    "is_decimal": [Decimal("1.5")],
    "is_uuid": [uuid.UUID(int=5)],
    "is_tuple": [(), (1,)],
    "is_list": [[], [1] * 20],
    "is_dict": [{}, {1: 2}],
    "is_set": [{1}],
    "is_frozenset": [frozenset()],
}


@pytest.mark.parametrize("name", KIND_VALUES)
def test_tests_of_types(name: str) -> None:
    """True for values of the type, False for all others."""
    test: Callable[[object], Expression] = getattr(m, name)
    related = {"is_int": "is_number", "is_float": "is_number"}
    for other, values in KIND_VALUES.items():
        expected = other == name or related.get(other) == name
        for value in values:
            if name == "is_number" or other != "is_number":
                assert value_of(test(v1), value) is expected, (name, value)
    assert run((1, 2), Clause(v1, (), test(v1))) is (name == "is_tuple")


def test_a_guard_has_to_be_true() -> None:
    """Exactly that: neither 1 nor a failure."""
    assert run((1,), Clause((v1,), [True], "yes")) == "yes"
    for guard in (1, v1, "True", None, False, v1 / 0, v1 > 1):
        assert run((1,), Clause((v1,), [guard], "yes")) == NOTHING
    assert run((1,), Clause((v1,), [v1 == 1, v1 == 2], "yes")) == NOTHING
    assert run((1,), Clause((v1,), (v1 == 1, v1 > 0), "yes")) == "yes"


def test_large_results_are_made_and_endless_ones_fail() -> None:
    """Beyond the first buffer; beyond 16 MiB the clause does not apply."""
    text = "x" * 100_000
    assert value_of([v1, v1, [v1]], text) == [text, text, [text]]
    body: Any = v1
    for _ in range(10):
        body = [body, body]
    assert value_of(body, text) == NOTHING


def test_results_are_no_deeper_than_rows() -> None:
    """100 levels; a body that adds one to a value of so many fails."""
    deep: Any = []
    for _ in range(99):
        deep = [deep]
    assert value_of((v1,), deep[0]) == (deep[0],)
    assert value_of((v1,), deep) == NOTHING
    assert value_of(v1, deep) == deep
    wide = [deep[0], list(range(200)), deep[0]]
    assert value_of(v1, wide) == wide
    assert value_of((v1,), wide) == NOTHING


# -- expressions, at random --------------------------------------------------------------------------------------------


class FailureError(Exception):
    """An expression has no value."""


RANKS: list[Any] = [type(None), bool, (int, float), str, bytes, tuple, list]


def rank(value: Any) -> int:
    """The place of a type in the order."""
    return next(i for i, types in enumerate(RANKS) if isinstance(value, types))


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1, for the types of RANKS."""
    if rank(a) != rank(b):
        return -1 if rank(a) < rank(b) else 1
    if isinstance(a, (tuple, list)):
        for x, y in zip(a, b, strict=False):
            if compare(x, y) != 0:
                return compare(x, y)
        return (len(a) > len(b)) - (len(a) < len(b))
    if a != a or b != b:
        return int(a != a) - int(b != b)
    return 0 if a is None else int(a > b) - int(a < b)


def number(value: Any) -> Any:
    """It, if it is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FailureError
    return bounded(value)


def bounded(value: Any) -> Any:
    """It, unless it is an int beyond what the core calculates with."""
    if isinstance(value, int) and value.bit_length() > 16384:
        raise FailureError
    return value


def integer(value: Any) -> Any:
    """It, if it is an int."""
    if isinstance(value, float):
        raise FailureError
    return number(value)


def boolean(value: Any) -> bool:
    """It, if it is a bool."""
    if not isinstance(value, bool):
        raise FailureError
    return value


def shift(a: Any, b: Any, left: bool) -> Any:
    """As Python has it, if that is not too much."""
    integer(a)
    if isinstance(b, bool) or not isinstance(b, int) or b < 0 or (left and a != 0 and b > 16384):
        raise FailureError
    return bounded(a << b if left and a != 0 else a >> min(b, 20000)) if a != 0 else 0


def element(value: Any, position: Any) -> Any:
    """Of tuples and lists."""
    if not isinstance(value, (tuple, list)) or isinstance(position, bool) or not isinstance(position, int):
        raise FailureError
    if not 0 <= position < len(value):
        raise FailureError
    return value[position]


def size(value: Any) -> int:
    """Of what has one."""
    if not isinstance(value, (str, bytes, tuple, list)):
        raise FailureError
    return len(value)


def arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A function of two numbers."""
    return lambda a, b: bounded(function(number(a), number(b)))


def same(a: Any, b: Any) -> bool:
    """Type and value."""
    return _codec.encode(a) == _codec.encode(b)


ONE: dict[str, Callable[[Any], Any]] = {
    "not_": lambda a: not boolean(a),
    "neg": lambda a: -number(a),
    "abs_": lambda a: abs(number(a)),
    "round_": lambda a: bounded(round(number(a))),
    "floor": lambda a: math.floor(number(a)),
    "ceil": lambda a: math.ceil(number(a)),
    "trunc": lambda a: math.trunc(number(a)),
    "float_": lambda a: float(number(a)),
    "bnot": lambda a: bounded(~integer(a)),
    "size": size,
    "is_int": lambda a: isinstance(a, int) and not isinstance(a, bool),
    "is_number": lambda a: isinstance(a, (int, float)) and not isinstance(a, bool),
    "is_str": lambda a: isinstance(a, str),
    "is_tuple": lambda a: isinstance(a, tuple),
    "first": lambda a: element(a, 0),
    "last": lambda a: element(a, size(a) - 1),
}
TWO: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: compare(a, b) == 0,
    "!=": lambda a, b: compare(a, b) != 0,
    "<": lambda a, b: compare(a, b) < 0,
    "<=": lambda a, b: compare(a, b) <= 0,
    ">": lambda a, b: compare(a, b) > 0,
    ">=": lambda a, b: compare(a, b) >= 0,
    "is_same": same,
    "&": lambda a, b: boolean(a) & boolean(b),
    "|": lambda a, b: boolean(a) | boolean(b),
    "^": lambda a, b: boolean(a) ^ boolean(b),
    "+": arithmetic(operator.add),
    "-": arithmetic(operator.sub),
    "*": arithmetic(operator.mul),
    "/": arithmetic(operator.truediv),
    "//": arithmetic(operator.floordiv),
    "%": arithmetic(operator.mod),
    "band": lambda a, b: integer(a) & integer(b),
    "bor": lambda a, b: integer(a) | integer(b),
    "bxor": lambda a, b: integer(a) ^ integer(b),
    "bsl": lambda a, b: shift(a, b, True),
    "bsr": lambda a, b: shift(a, b, False),
    "element": element,
    "min_": lambda a, b: b if compare(b, a) < 0 else a,
    "max_": lambda a, b: b if compare(b, a) > 0 else a,
}


def interpret(term: Any, bound: dict[int, Any]) -> Any:
    """The value of an expression, the straightforward way."""
    if isinstance(term, Variable):
        return bound[term.number]
    if isinstance(term, (tuple, list)):
        return type(term)([interpret(part, bound) for part in term])
    if not isinstance(term, Call):
        return term
    if term.name in ("and_", "or_"):
        for operand in term.operands:
            if boolean(interpret(operand, bound)) is (term.name == "or_"):
                return term.name == "or_"
        return term.name == "and_"
    operands = [interpret(operand, bound) for operand in term.operands]
    return ONE[term.name](*operands) if len(operands) == 1 else TWO[term.name](*operands)


borders = [
    0,
    1,
    -1,
    2**31,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    2**64 - 1,
    2**127,
    2**1023,
]
ints = st.integers(-70, 70) | st.integers() | st.sampled_from(borders) | st.integers(-(2**900), 2**900)
floats = st.floats() | st.integers(-20, 20).map(lambda n: n / 4) | st.sampled_from(borders).map(float)
numbers = ints | floats
flat = st.none() | st.booleans() | numbers | st.text(max_size=4) | st.binary(max_size=4)
values = flat | st.lists(flat, max_size=3) | st.lists(flat, max_size=3).map(tuple)


def calls(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Operators and functions of what there is."""
    return (
        st.builds(Call, st.sampled_from(sorted(ONE)), inner)
        | st.builds(Call, st.sampled_from(sorted(TWO)), inner, inner)
        | st.builds(Call, st.sampled_from(["and_", "or_"]), inner, inner, inner)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=3)
    )


expressions = st.recursive(st.sampled_from([v1, v2, v3]) | values, calls, max_leaves=8)


def interpreted(body: Any, bound: dict[int, Any]) -> Any:
    """The value of a body, or NOTHING."""
    try:
        return interpret(body, bound)
    except (FailureError, ArithmeticError, ValueError):
        return NOTHING


@settings(max_examples=500, deadline=None)
@given(expressions, st.tuples(values, values, values))
def test_programs_do_what_an_interpreter_does(body: Any, bound: tuple[Any, Any, Any]) -> None:
    """Any expression over any values: the same result of the same types, or failure in both."""
    expected = interpreted(body, dict(enumerate(bound, 1)))
    assert same(value_of(body, *bound), expected)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(TWO)), numbers, numbers)
@example("/", 2**1023, 2**70 + 1)
@example("/", 5, 2**1080)
@example("//", 2**128 - 1, 2**64 - 1)
def test_arithmetic_is_pythons(name: str, a: Any, b: Any) -> None:
    """Operators of two numbers, ints of any size among them."""
    assert same(value_of(Call(name, v1, v2), a, b), interpreted(Call(name, v1, v2), {1: a, 2: b}))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ONE)), numbers | st.integers(-(2**2000), 2**2000))
def test_functions_of_one_number_are_pythons(name: str, a: Any) -> None:
    """Rounding, signs, bits."""
    assert same(value_of(Call(name, v1), a), interpreted(Call(name, v1), {1: a}))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**4000), st.integers(1, 2**2000), st.integers(0, 2**64), st.booleans(), st.booleans())
def test_division_of_long_ints(quotient: int, divisor: int, some: int, minus: bool, other_minus: bool) -> None:
    """Quotients and remainders that are near to the next ones."""
    dividend = quotient * divisor + some % divisor
    a, b = -dividend if minus else dividend, -divisor if other_minus else divisor
    assert value_of((v1 // v2, v1 % v2), a, b) == divmod(a, b)


def interpret_pattern(pattern: Any, value: Any, bound: dict[int, Any]) -> bool:
    """Whether a value matches, the straightforward way."""
    if pattern is ANY:
        return True
    if isinstance(pattern, Variable):
        return same(bound.setdefault(pattern.number, value), value)
    if type(pattern) is dict:
        if type(value) is not dict:
            return False
        items = {_codec.encode(k): v for k, v in value.items()}
        return all(
            _codec.encode(k) in items and interpret_pattern(p, items[_codec.encode(k)], bound)
            for k, p in pattern.items()
        )
    if type(pattern) in (tuple, list):
        return (
            type(pattern) is type(value)
            and len(pattern) == len(value)
            and all(interpret_pattern(p, v, bound) for p, v in zip(pattern, value, strict=True))
        )
    return same(pattern, value)


few = st.sampled_from([None, True, 1, 1.0, "a", b"a"])
few_keys = st.sampled_from(["a", "b", 1])
few_values = st.recursive(
    few,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(few_keys, inner, max_size=3)
        | st.frozensets(few, max_size=2)
    ),
    max_leaves=8,
)


def with_holes(data: st.DataObject, value: Any) -> Any:
    """A pattern that is like the value, often enough."""
    if data.draw(st.integers(0, 4)) == 0:
        return data.draw(st.sampled_from([ANY, v1, v2, v3]) | few_values)
    if type(value) in (tuple, list):
        return type(value)([with_holes(data, part) for part in value])
    if type(value) is dict:
        return {key: with_holes(data, part) for key, part in value.items() if data.draw(st.booleans())}
    return value


@settings(max_examples=500, deadline=None)
@given(st.lists(few_values, min_size=1, max_size=4).map(tuple), st.data())
def test_patterns_do_what_an_interpreter_does(row: tuple[Any, ...], data: st.DataObject) -> None:
    """Any pattern over any row: the same decision, the same variables."""
    pattern = tuple(with_holes(data, part) for part in row)
    bound: dict[int, Any] = {}
    expected: Any = NOTHING
    if interpret_pattern(pattern, row, bound):
        expected = tuple(bound[number] for number in sorted(bound))
    assert same(matches((0, *row), (ANY, *pattern)), expected)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clause",
    [
        Clause((v1,), v1 > 1),  # type: ignore[arg-type]
        Clause((v1,), {v1: 1}),  # type: ignore[arg-type]
        Clause((v1,), "ab"),
        Clause((v1,), [v2 > 1]),
        Clause((v1,), (), v2),
        Clause((v1,), (), (v1, [v2])),
        Clause(ANY, (), v1),
        Clause(v1, (), v2),
        Clause((v1,), (), ANY),
        Clause((v1,), (), (v1, ANY)),
        Clause((v1,), [ANY], 1),
        Clause((v1 + 1,)),
        Clause((v1, ROW)),
        Clause((v1, (VARS,))),
        Clause((v1, {v2: 1})),
        Clause((v1, {ANY: 1})),
        Clause((v1, {(v2,): 1})),
        Clause((v1, {v2})),
        Clause((v1, frozenset({ANY}))),
        Clause((v1,), (), {v1, 2}),
        Clause((v1,), (), [frozenset({v1})]),
        Clause((v1,), (), Point(v1)),
        Clause((Point(v1),)),
        Clause(tuple(var(n) for n in range(300)), (), VARS),
        Clause((v1,), (), Call("bogus", v1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("use", [Use(), Use(pickle=True)])
def test_malformed_clauses_are_refused(clause: Clause, use: Use) -> None:
    """Before anything is touched; the message says which clause, and what is wrong with it."""
    with pytest.raises(BadMatchError, match=r"^clause 2: ."):
        Query(Clause(ANY), clause).program(use)


@pytest.mark.parametrize("head", [1, "foo", None, [v1], {v1: 1}, v1 + 1, ROW, VARS, Point(1)])
def test_a_head_that_is_no_pattern_is_a_type_error(head: Any) -> None:
    """It is a tuple, ANY or a variable."""
    with pytest.raises(TypeError, match="a pattern is a tuple, ANY or a variable"):
        Query(Clause(head)).program(Use())


@pytest.mark.parametrize("clauses", [(), ((v1,),), (Clause,), (Clause(ANY), ((v1,), (), v1))])
def test_a_query_has_clauses(clauses: Any) -> None:
    """One at least, and nothing else."""
    with pytest.raises(TypeError, match="Clause is needed"):
        Query(*clauses)


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), ("\ud800", ValueError)])
def test_values_that_cannot_be_stored_are_refused(value: Any, error: type[Exception]) -> None:
    """In heads, guards and bodies, as they are in rows."""
    for clause in (Clause((v1, value)), Clause((v1,), [v1 == value]), Clause((v1,), (), (v1, value))):
        with pytest.raises(error):
            Query(clause).program(Use())


def test_endless_nesting_is_refused() -> None:
    """And not a crash."""
    body: Any = v1
    for _ in range(100_000):
        body = [body]
    with pytest.raises(BadMatchError, match="too deep"):
        Query(Clause((v1,), (), body)).program(Use())


def test_long_sums_compile() -> None:
    """The depth of the program's stack does not grow with them."""
    body: Any = v1
    for _ in range(200):
        body = body + 1
    assert value_of(body, 5) == 205
    assert value_of(m.and_(*[v1 == 5] * 500), 5) is True


@pytest.mark.parametrize(
    "use", ["bool(v1 > 1)", "1 < v1 < 5", "v1 and v2", "not v1", "v1 in (v2, 5)", "[] if v1 else 1"]
)
def test_an_expression_has_no_truth_value(use: str) -> None:
    """TypeError that names what to write instead."""
    with pytest.raises(TypeError, match="write &"):
        eval(use)


def test_variables_have_numbers() -> None:
    """0 or more; whatever has an index, but no bool."""
    assert [v.number for v in matching.vars(3)] == [1, 2, 3]
    assert matching.vars(0) == ()
    for make in (var, matching.vars):
        with pytest.raises(TypeError, match="bool"):
            make(True)
        with pytest.raises(ValueError, match="-1"):
            make(-1)
    with pytest.raises(ValueError, match="not -1"):
        var(-1)
    for bad in (True, "1", 1.0, None):
        with pytest.raises(TypeError):
            var(bad)  # type: ignore[arg-type]


# -- select_replace ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "body", "keypos"),
    [
        ((v1, v2), (v1, v2 + 1), 0),
        ((v1, v2), ROW, 0),
        (v1, v1, 0),
        ((v1, v2), (m.element(ROW, 0), 5), 0),
        ((ANY, v2), (m.element(ROW, 0), 5), 0),
        (ANY, (m.element(ROW, 0), 5), 0),
        (v1, (m.element(v1, 0), 5), 0),
        (("k", v2), ("k", v2), 0),
        (("k", v2), ("k", 5), 0),
        ((v1, "k"), (v1, "k", 3), 1),
        (((v1, "a"), v2), ((v1, "a"), 1), 0),
        ((("b", "a"), v2), (("b", "a"), v2), 0),
        ((1,), (1, 2), 0),
    ],
)
def test_replacements_that_keep_the_key(head: Any, body: Any, keypos: int) -> None:
    """The row, its key's element, or the head's own variable or value in the key's place."""
    assert Query(Clause(head, (), body)).program(Use(keypos=keypos, replace=True)).code


@pytest.mark.parametrize(
    ("head", "body", "keypos"),
    [
        ((v1, v2), (v2, v1), 0),
        ((v1, v2), (v1 + 0, v1), 0),
        ((v1, v2), v1, 0),
        ((v1, v2), VARS, 0),
        ((v1, v2), True, 0),
        ((v1, v2), [v1, v2], 0),
        ((v1, v2), (), 0),
        ((v1, v2), (v1,), 1),
        ((1, v2), (1.0, v2), 0),
        ((1, v2), (True, v2), 0),
        ((ANY, v2), (1, v2), 0),
        ((v1, v2), (m.element(ROW, 1), v2), 0),
        ((v1, v2), (m.element(v2, 0), v2), 0),
        ((v1, v2), (m.element(ROW, v2), v2), 0),
        (((v1, ANY), v2), ((v1, 1), v2), 0),
        (((v1, "a"), v2), ((v1, "b"), v2), 0),
        (((v1, "a"), v2), ((v1,), v2), 0),
    ],
)
def test_replacements_that_may_change_the_key_are_refused(head: Any, body: Any, keypos: int) -> None:
    """Beforehand, whatever rows there are."""
    with pytest.raises(BadMatchError):
        Query(Clause(head, (), body)).program(Use(keypos=keypos, replace=True))


# -- what a program says of the rows it is for -------------------------------------------------------------------------


def program(head: Any, **use: Any) -> Program:
    """Of one clause."""
    return Query(Clause(head)).program(Use(**use))


def test_bound_keys_are_known() -> None:
    """So that a query over them is a lookup."""
    assert program(("k", v1)).keys == (_codec.encode_key("k"),)
    assert program((v1, ("a", 1)), keypos=1).keys == (_codec.encode_key(("a", 1)),)
    for head in (ANY, v1, (v1, 1), (ANY, 1), (("a", v1), 1)):
        assert program(head).keys == (None,)
    both = Query(Clause((1, v1)), Clause((v1, 2))).program(Use())
    assert both.keys == (_codec.encode_key(1), None)
    assert both.is_rows


def test_bound_beginnings_of_tuple_keys_are_known() -> None:
    """In an ordered_set, so that a query over them is a range."""
    assert program((("a", 1, v1), v2), ordered=True).prefixes == (_codec.encode_key(("a", 1)),)
    assert program((("a", (1, ANY), 2), v2), ordered=True).prefixes == (_codec.encode_key(("a",)),)
    assert program((("a", {}, v1), v2), ordered=True).prefixes == (_codec.encode_key(("a",)),)
    assert program((("a", [1], v1), v2), ordered=True).prefixes == (_codec.encode_key(("a",)),)
    assert program((("a" * 70000, v1), v2), ordered=True).prefixes == (None,)
    for head in ((("a", 1), v2), ((v1, 1), v2), (v1, 1), ANY, (("b",), v1)):
        assert program(head, ordered=True).prefixes == (None,)
    assert program((("a", v1), v2)).prefixes == (None,)


@pytest.mark.parametrize("head", [(), (1,), (1, [2]), (1, {"a": 1}), (1, {2}), (1, ("a", bytearray(b"x")))])
def test_clauses_that_no_row_can_match_are_left_out(head: Any) -> None:
    """Too short, or with a key that no key can be; but they are refused if malformed."""
    compiled = program(head, keypos=1)
    assert compiled.keys == ()
    assert run_bytes(compiled.code, _codec.encode_row((1, 2), 0)) == (ABSENT, b"")
    with pytest.raises(BadMatchError):
        Query(Clause(head, (), v1)).program(Use(keypos=1))


# -- pickles, reuse ----------------------------------------------------------------------------------------------------


def test_everything_pickles() -> None:
    """Variables, names, expressions, clauses, queries; programs of both are the same."""
    assert all(pickle.loads(pickle.dumps(name)) is name for name in (ANY, ROW, VARS))
    query = Query(Clause((v1, ANY, v2), [v1 > 5, m.and_(m.is_int(v2), ~(v2 == 3))], (v1, -v2, ROW, VARS)))
    again = pickle.loads(pickle.dumps(query))
    assert again.program(Use()).code == query.program(Use()).code
    assert repr(again) == repr(query)


def test_a_query_is_compiled_once_for_each_use() -> None:
    """And keeps what was made of it."""
    query = Query(Clause((1, v1)))
    assert query.program(Use()) is query.program(Use())
    assert query.program(Use()) is not query.program(Use(ordered=True))


def test_expressions_read_as_they_are_written() -> None:
    """Their repr is Python."""
    text = "and_((var(1) > 5), not_((size(var(2)) == (var(1) + 1))))"
    assert repr(m.and_(v1 > 5, ~(m.size(v2) == v1 + 1))) == text
    assert repr(eval(text, vars(m) | {"var": var})) == text


# -- programs from elsewhere -------------------------------------------------------------------------------------------

clauses = st.builds(
    lambda head, guards, body: Clause(tuple(head), guards, body),
    st.just([v1, v2, v3]) | st.just([v1, (v2, ANY), [v3]]) | st.just([v3, v2, {"a": v1}]),
    st.lists(expressions, max_size=2),
    expressions,
)


def encoded_row(row: tuple[Any, ...]) -> bytes:
    """A row whose key may be anything."""
    return bytes([0x90 + len(row)]) + b"".join(_codec.encode(value) for value in row)


@settings(max_examples=500, deadline=None)
@given(clauses, st.tuples(values, values, values), st.data())
def test_damaged_programs_are_refused_or_run(clause: Clause, row: tuple[Any, Any, Any], data: st.DataObject) -> None:
    """Bytes changed anywhere: never a crash."""
    code = bytearray(Query(clause).program(Use()).code)
    for _ in range(data.draw(st.integers(1, 4))):
        code[data.draw(st.integers(16, len(code) - 1))] = data.draw(st.integers(0, 255) | st.integers(0, 50))
    status, _ = run_bytes(bytes(code), encoded_row(row))
    assert status in (OK, ABSENT, BAD_OPTION)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_other_bytes_are_no_programs(data: bytes) -> None:
    """Refused."""
    assert run_bytes(data, b"\x90")[0] == BAD_OPTION


@settings(max_examples=500, deadline=None)
@given(clauses, st.tuples(values, values, values), st.data())
def test_damaged_rows_are_survived(clause: Clause, row: tuple[Any, Any, Any], data: st.DataObject) -> None:
    """A row that is no msgpack, or another row's half: a decision, never a crash."""
    encoded = bytearray(encoded_row(row))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    encoded = encoded[: data.draw(st.integers(0, len(encoded)))]
    status, _ = run_bytes(Query(clause).program(Use()).code, bytes(encoded))
    assert status in (OK, ABSENT)
