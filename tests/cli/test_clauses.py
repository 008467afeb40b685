# SPDX-License-Identifier: Apache-2.0
"""Patterns and expressions as they are typed: what they mean, and that nothing else means anything."""

from __future__ import annotations

import pytest

import tablemgr as tm
from tablemgr.cli import clauses
from tablemgr.cli.exits import UsageError

V1, V2 = tm.vars(2)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("_", tm.ANY),
        ("ANY", tm.ANY),
        ("v1", V1),
        ("$12", tm.var(12)),
        ("(_, V1, $2)", (tm.ANY, V1, V2)),
        ("('$1', \"it's $2\", '''$3''', $1)", ("$1", "it's $2", "$3", V1)),
        ("(1, -2.5, None, True, b'x', {1, 2})", (1, -2.5, None, True, b"x", {1, 2})),
        ("((v1, 'a'), [_, 3], {'k': v2})", ((V1, "a"), [tm.ANY, 3], {"k": V2})),
        (" ( v1 , ) ", (V1,)),
    ],
)
def test_a_pattern_is_a_literal_with_holes(typed: str, meant: object) -> None:
    """`_` is ANY, v1 and $1 are variables, also deep inside; text in quotes stays what it is."""
    assert repr(clauses.pattern(typed)) == repr(meant)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("v1 > 5", V1 > 5),
        ("1 + 2 == v1", tm.matching.Call("==", tm.matching.Call("+", 1, 2), V1)),
        ("1 <= v1 < 9", tm.and_(tm.matching.Call("<=", 1, V1), V1 < 9)),
        ("v1 > 5 and not is_int(v2) or v2 is None", tm.or_(tm.and_(V1 > 5, tm.not_(tm.is_int(V2))), tm.is_none(V2))),
        ("v1 is not None", tm.not_(tm.is_none(V1))),
        ("(v1 < 1) & ~(v2 != 2) | True ^ False", ((V1 < 1) & ~(V2 != 2)) | tm.matching.Call("^", True, False)),
        ("v1 in (1, 'a')", tm.or_(V1 == 1, V1 == "a")),
        ("v1 not in [v2]", tm.not_(tm.or_(V1 == V2))),
        ("v1 in ()", False),
        ("-v1 * 2 // 3 % 4 - -5 / v2", (-V1 * 2 // 3 % 4) - tm.matching.Call("/", -5, V2)),
        ("size(v1) + len(v2)", tm.size(V1) + tm.size(V2)),
        ("abs(v1) + round(v1) + float(v1)", abs(V1) + tm.round_(V1) + tm.float_(V1)),
        ("min(v1, v2, 3)", tm.min_(V1, V2, 3)),
        ("max_(v1, v2)", tm.max_(V1, V2)),
        ("map_get(v1, 'k')", tm.map_get(V1, "k")),
        ("element(row, 1)", tm.element(tm.ROW, 1)),
        ("(v1, [row], {'k': vars})", (V1, [tm.ROW], {"k": tm.VARS})),
    ],
)
def test_an_expression_is_pythons_in_terms_of_the_library(typed: str, meant: object) -> None:
    """Operators, comparisons and their chains, and, or, not, in, is None, functions; constants are not folded."""
    assert repr(clauses.expression(typed)) == repr(meant)


def test_every_function_of_the_library_can_be_called() -> None:
    """By the name it has in `tm`."""
    listed = {name for name in tm.__all__ if getattr(getattr(tm, name), "__module__", "") == "tablemgr.match_functions"}
    assert set(clauses.FUNCTIONS) == listed


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "(v1",
        "foo",
        "v1.real",
        "v1[0]",
        "v1 if v2 else 3",
        "lambda: 1",
        "[x for x in v1]",
        "f'{v1}'",
        "(v1 := 2)",
        "__import__('os')",
        "print(v1)",
        "size(v1, 2)",
        "size(value=v1)",
        "size(*v1)",
        "(*v1,)",
        "{**v1}",
        "{v1: 2}",
        "{v1}",
        "{[1]: 2}",
        "min(v1)",
        "v1 in v2",
        "v1 is v2",
        "v1 ** 2",
        "v1 << 2",
        "v1 @ v2",
        "+v1",
        "-'x'",
        "await v1",
        "v1; v2",
        "v1 = 2",
        "$",
        "$x",
        "\0",
        "(" * 5000,
        "not " * 5000 + "v1",
        "+".join(["v1"] * 50_000),
        "9" * 10_000,
    ],
)
def test_whatever_else_is_typed_is_refused(typed: str) -> None:
    """With what was typed and why, on a short line; nothing of it has run."""
    with pytest.raises(UsageError) as caught:
        clauses.expression(typed)
    assert str(caught.value).startswith("expression ")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("typed", ["", "(v1", "(foo,)", "(v1 + 1,)", "(size(v1),)", "{v1: 2}", "{v1}", "(row, x)"])
def test_a_pattern_holds_no_expressions(typed: str) -> None:
    """Only values and holes."""
    with pytest.raises(UsageError, match="pattern"):
        clauses.pattern(typed)


@pytest.mark.parametrize(
    ("head", "guard", "body"),
    [
        ("[v1]", "True", "row"),
        ("7", "True", "row"),
        ("(row, 1)", "True", "row"),
        ("(v1,)", "v2 > 1", "row"),
        ("(v1,)", "v1 == 1j", "row"),
        ("(v1,)", "True", "v2"),
        ("(v1,)", "True", "_"),
        ("(v1,)", "True", "+".join(["v1"] * 900)),
    ],
)
def test_a_clause_that_no_table_takes_is_wrong_usage(head: str, guard: str, body: str) -> None:
    """What the library would say of it is said before a table is attached."""
    with pytest.raises(UsageError):
        clauses.query(clauses.pattern(head), [clauses.expression(guard)], clauses.expression(body))
