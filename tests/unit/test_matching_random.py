# SPDX-License-Identifier: Apache-2.0
"""Programs, patterns and rows at random: against an interpreter in Python, and damaged."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings, strategies as st

from tablemgr import _codec
from tablemgr.match_compiler import Use
from tablemgr.match_program import Query
from tablemgr.matching import ANY, Call, Clause, Variable, var
from tests.unit.programs import ABSENT, BAD_OPTION, NOTHING, OK, matches, run_bytes, value_of

v1, v2, v3 = (var(n) for n in range(1, 4))


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
