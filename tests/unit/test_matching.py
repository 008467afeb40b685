# SPDX-License-Identifier: Apache-2.0
"""Patterns, guards and bodies: what the compiled programs decide over rows."""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tablemgr import _codec, match_code, match_functions as m
from tablemgr.match_compiler import Use
from tablemgr.match_program import delete_query, match_query, object_query
from tablemgr.matching import ANY, ROW, VARS, Clause, Expression, var
from tests.unit.programs import NOTHING, OK, matches, run, run_bytes, value_of

ROOT = Path(__file__).resolve().parents[2]
v0, v1, v2, v3 = (var(n) for n in range(4))


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
