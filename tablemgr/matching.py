# SPDX-License-Identifier: Apache-2.0
"""The language of patterns and clauses: what ETS calls match specifications, as Python expressions.

A pattern is a row with holes: `ANY` takes every value, a variable takes one and binds it, everything else has to be
there by type and value. A clause is a pattern (its head), guards that have to be True, and a body that says what
comes out:

    v1, v2 = vars(2)
    Clause((v1, v2, ANY), [v2 > 5, is_str(v1)], (v1, v2 + 1))

Guards and bodies are expressions over the variables that the head binds. Nothing is computed when one is written:
operators, and the functions of match_functions.py, make objects, which are compiled once and run in C over the rows as
they are stored. `==` and the arithmetic operators know numbers by value, and everything else strictly by type; `<` and
its kin order as an ordered_set does. `&`, `|`, `^` and `~` take bools and evaluate both sides; `and_` and `or_` stop
early. An expression that fails (a wrong type, a division by zero, a position outside) makes its clause not apply to
that row.

Everything here pickles.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn, SupportsIndex

from tablemgr import _codec


class Expression:
    """A value that is computed for each row, in C. Its operators make further expressions."""

    __slots__ = ()
    __hash__ = object.__hash__
    __array_ufunc__ = None  # numpy's scalars leave operators with expressions to these

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} has no truth value before it runs: write & for and, | for or, ~ for not (with parentheses "
            "around comparisons), or and_(), or_(); and (a < b) & (b < c) for a < b < c"
        )

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return Call("==", self, other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return Call("!=", self, other)

    def __lt__(self, other: object) -> Expression:
        return Call("<", self, other)

    def __le__(self, other: object) -> Expression:
        return Call("<=", self, other)

    def __gt__(self, other: object) -> Expression:
        return Call(">", self, other)

    def __ge__(self, other: object) -> Expression:
        return Call(">=", self, other)

    def __add__(self, other: object) -> Expression:
        return Call("+", self, other)

    def __radd__(self, other: object) -> Expression:
        return Call("+", other, self)

    def __sub__(self, other: object) -> Expression:
        return Call("-", self, other)

    def __rsub__(self, other: object) -> Expression:
        return Call("-", other, self)

    def __mul__(self, other: object) -> Expression:
        return Call("*", self, other)

    def __rmul__(self, other: object) -> Expression:
        return Call("*", other, self)

    def __truediv__(self, other: object) -> Expression:
        return Call("/", self, other)

    def __rtruediv__(self, other: object) -> Expression:
        return Call("/", other, self)

    def __floordiv__(self, other: object) -> Expression:
        return Call("//", self, other)

    def __rfloordiv__(self, other: object) -> Expression:
        return Call("//", other, self)

    def __mod__(self, other: object) -> Expression:
        return Call("%", self, other)

    def __rmod__(self, other: object) -> Expression:
        return Call("%", other, self)

    def __neg__(self) -> Expression:
        return Call("neg", self)

    def __abs__(self) -> Expression:
        return Call("abs_", self)

    def __and__(self, other: object) -> Expression:
        return Call("&", self, other)

    def __rand__(self, other: object) -> Expression:
        return Call("&", other, self)

    def __or__(self, other: object) -> Expression:
        return Call("|", self, other)

    def __ror__(self, other: object) -> Expression:
        return Call("|", other, self)

    def __xor__(self, other: object) -> Expression:
        return Call("^", self, other)

    def __rxor__(self, other: object) -> Expression:
        return Call("^", other, self)

    def __invert__(self) -> Expression:
        return Call("not_", self)


class Variable(Expression):
    """In a head, a hole that keeps its value; in guards and bodies, that value. Made by `var` and `vars`."""

    __slots__ = ("number",)
    number: int

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return var, (self.number,)

    def __repr__(self) -> str:
        return f"var({self.number})"


class Call(Expression):
    """An operator or function and what it is applied to."""

    __slots__ = ("name", "operands")
    name: str
    operands: tuple[object, ...]

    def __init__(self, name: str, *operands: object) -> None:
        self.name = name
        self.operands = operands

    def __reduce__(self) -> tuple[Any, ...]:
        return Call, (self.name, *self.operands)

    def __repr__(self) -> str:
        operands = [repr(operand) for operand in self.operands]
        if self.name.isidentifier():
            return f"{self.name}({', '.join(operands)})"
        return f"({f' {self.name} '.join(operands)})"


class _Named(Expression):
    """An expression without parts, known by the name it has in this module."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return self._name


class _Anything:
    """The type of ANY."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "ANY"

    def __repr__(self) -> str:
        return "ANY"


ANY = _Anything()
"""In a pattern: any value. ETS's `'_'`."""

ROW: Expression = _Named("ROW")
"""In guards and bodies: the row, a tuple. ETS's `'$_'`."""

VARS: Expression = _Named("VARS")
"""In guards and bodies: the values of all variables of the head, a tuple in the order of their numbers. `'$$'`."""


def var(number: SupportsIndex) -> Variable:
    """The variable of a number, 0 or more. ETS's `'$1'`. TypeError, ValueError: it is none."""
    return Variable(_number(number, "var", "numbers begin at 0"))


def vars(n: SupportsIndex) -> tuple[Variable, ...]:
    """The variables 1 to n: `v1, v2 = vars(2)`. TypeError, ValueError: n is no number of variables."""
    return tuple(Variable(number + 1) for number in range(_number(n, "vars", "there are 0 or more")))


def _number(value: SupportsIndex, doing: str, rule: str) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{doing}: a number, not a bool")
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"{doing}: {rule}, not {number}")
    return number


_codec.language(ANY, ROW, VARS, Variable, Call)


class Clause(_codec.ClauseParts):
    """A pattern, the guards that have to be True besides, and what comes out.

    Its shape is looked at when it is used: BadMatchError for what is malformed, TypeError for a head that is none. It
    does not change, and keeps what it was compiled to; two clauses are equal when they are one object.

    Args:
        head: a tuple with values, `ANY` and variables in it at any depth, which matches rows of its length; or `ANY`,
            or a variable for the whole row. A variable that comes twice takes the same value twice. Tuples and lists
            match element by element, a dict matches a dict that has its items, and perhaps others.
        guards: a list or tuple of expressions; the clause applies where each is True, and not just true.
        body: an expression, or tuples, lists and dicts of them; without it the row.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Clause, (self.head, self.guards, self.body)

    def __repr__(self) -> str:
        return f"Clause(head={self.head!r}, guards={self.guards!r}, body={self.body!r})"
