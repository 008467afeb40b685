# SPDX-License-Identifier: Apache-2.0
"""Compiling clauses: what is refused, what a program says of the rows it is for, and what it costs to have it again."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import pytest

from tablemgr import _codec, match_functions as m, matching
from tablemgr.errors import BadMatchError
from tablemgr.match_compiler import Use
from tablemgr.match_program import Program, Query
from tablemgr.matching import ANY, ROW, VARS, Call, Clause, var
from tests.unit.programs import ABSENT, run_bytes, value_of

v0, v1, v2, v3 = (var(n) for n in range(4))


class Point(NamedTuple):
    """A tuple that is none of those that rows and patterns are."""

    x: Any


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
        Clause((v1,), (), {v1}),
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
