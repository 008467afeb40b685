# SPDX-License-Identifier: Apache-2.0
"""Patterns and expressions as they are typed on a command line, translated into those of `tablemgr.matching`.

The text is parsed as Python and walked; what the walk does not know is refused. Nothing is ever evaluated: an operator
on two constants becomes a call for the core like any other, which bounds what it may cost."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from tablemgr import match_functions, matching
from tablemgr.cli.exits import UsageError
from tablemgr.errors import BadMatchError
from tablemgr.match_code import CALLS
from tablemgr.match_compiler import Use
from tablemgr.match_program import Query
from tablemgr.matching import ANY, ROW, VARS, Call, Clause

_STRING: Final = r"""'''(?:\\.|[^\\])*?'''|\"{3}(?:\\.|[^\\])*?\"{3}|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\""""
_DOLLAR: Final = re.compile(rf"({_STRING})|\$([0-9]+)", flags=re.DOTALL)
_VARIABLE: Final = re.compile(r"[vV]([0-9]+)")

_BINARY: Final[dict[type[ast.AST], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_BUILTINS: Final = {"abs": "abs_", "round": "round_", "float": "float_", "min": "min_", "max": "max_", "len": "size"}
FUNCTIONS: Final[dict[str, Callable[..., object]]] = {
    name: getattr(match_functions, name)
    for name in (*CALLS, "and_", "or_")
    if name.isidentifier() and name != "neg"  # which is written as the operator
}
"""What an expression may call, by its name in `tablemgr`; some go by the name of a builtin besides."""


def pattern(text: str) -> object:
    """A pattern: a tuple literal with `_` (or `ANY`) and variables `v1` (or `$1`) in it, or one of those for any row.

    Raises UsageError for anything else."""
    return _translated(_pattern, text, "pattern")


def expression(text: str) -> object:
    """An expression of a guard or body over variables `v1` (or `$1`), `row` and `vars`.

    Python's operators, `and or not`, comparisons, also chained, `in` a tuple, list or set that is written out, `is
    None`, and `FUNCTIONS`. Raises UsageError for anything else."""
    return _translated(_expression, text, "expression")


def query(head: object, guards: Sequence[object] = (), body: object = ROW) -> Query:
    """One clause, found to be in order whatever the table; UsageError: it is not."""
    asked = Query(Clause(head, list(guards), body))
    try:
        asked.program(Use())
    except (BadMatchError, TypeError, ValueError) as error:
        raise UsageError(str(error).removeprefix("clause 1: ")) from None
    return asked


def _translated(translate: Callable[[ast.expr], object], text: str, what: str) -> object:
    """The text parsed and translated; every way in which that can fail is a UsageError that shows the text."""
    plain = _DOLLAR.sub(lambda match: match[1] or f" v{match[2]} ", text).strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return translate(ast.parse(plain, mode="eval").body)
        except UsageError as error:
            raise UsageError(f"{what} {_cut(text)}: {error}") from None
        except SyntaxError as error:
            raise UsageError(f"{what} {_cut(text)}: {error.msg}") from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise UsageError(f"{what} {_cut(text)}: {str(error) or 'nested too deep'}") from None


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _refuse(node: ast.expr, hint: str) -> NoReturn:
    raise UsageError(f"{_cut(ast.unparse(node))}: {hint}")


def _name(name: str) -> object:
    """A variable or one of the words; UsageError for any other name."""
    if variable := _VARIABLE.fullmatch(name):
        return matching.var(int(variable[1]))
    words = {"_": ANY, "ANY": ANY, "row": ROW, "ROW": ROW, "vars": VARS, "VARS": VARS}
    if name not in words:
        raise UsageError(f"there is no name {name}; variables are v1, v2 and so on, strings take quotes")
    return words[name]


def _literal(node: ast.expr) -> Any:
    """The value of a literal that neither names nor operators are in."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        _refuse(node, "a literal is needed here")


def _container(node: ast.expr, translate: Callable[[ast.expr], object]) -> object:
    """A tuple, list, dict or set that is written out; anything else is taken for a literal."""
    match node:
        case ast.Tuple():
            return tuple(map(translate, node.elts))
        case ast.List():
            return list(map(translate, node.elts))
        case ast.Dict():
            keys = [_literal(key) if key else _refuse(node, "** is not known here") for key in node.keys]
            try:
                return dict(zip(keys, map(translate, node.values), strict=True))
            except TypeError as error:
                _refuse(node, str(error))
        case _:
            return _literal(node)


def _pattern(node: ast.expr) -> object:
    """What stands in a pattern."""
    return _name(node.id) if isinstance(node, ast.Name) else _container(node, _pattern)


def _expression(node: ast.expr) -> object:
    """What stands in a guard or body."""
    match node:
        case ast.Name():
            return _name(node.id)
        case ast.Constant() | ast.Tuple() | ast.List() | ast.Dict() | ast.Set():
            return _container(node, _expression)
        case ast.BoolOp():
            values = map(_expression, node.values)
            return match_functions.and_(*values) if isinstance(node.op, ast.And) else match_functions.or_(*values)
        case ast.UnaryOp():
            return _unary(node)
        case ast.BinOp() if type(node.op) in _BINARY:
            return Call(_BINARY[type(node.op)], _expression(node.left), _expression(node.right))
        case ast.Compare():
            sides = [node.left, *node.comparators]
            parts = [_comparison(*each) for each in zip(sides, node.ops, sides[1:], strict=False)]
            return parts[0] if len(parts) == 1 else match_functions.and_(*parts)
        case ast.Call():
            return _call(node)
        case ast.Subscript():
            _refuse(node, "write element(value, position) or map_get(dict, key)")
        case _:
            _refuse(node, "this is not known here; there are operators, comparisons, and, or, not and functions")


def _unary(node: ast.UnaryOp) -> object:
    match node.op:
        case ast.Not() | ast.Invert():
            return match_functions.not_(_expression(node.operand))
        case _ if isinstance(node.operand, ast.Constant):
            return _literal(node)
        case ast.USub():
            return Call("neg", _expression(node.operand))
        case _:
            _refuse(node, "a sign that changes nothing")


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> object:
    """One link of a chain of comparisons."""
    match op:
        case ast.In() | ast.NotIn():
            if not isinstance(right, (ast.Tuple, ast.List, ast.Set)):
                _refuse(right, "behind `in` stands a tuple, list or set that is written out; for dicts: is_map_key")
            value = _expression(left)
            same = [Call("==", value, _expression(element)) for element in right.elts]
            found = match_functions.or_(*same) if same else False
            return found if isinstance(op, ast.In) else match_functions.not_(found)
        case ast.Is() | ast.IsNot():
            if not (isinstance(right, ast.Constant) and right.value is None):
                _refuse(right, "behind `is` stands None; is_same(a, b) compares types and values")
            none = match_functions.is_none(_expression(left))
            return none if isinstance(op, ast.Is) else match_functions.not_(none)
        case _:
            return Call(_BINARY[type(op)], _expression(left), _expression(right))


def _call(node: ast.Call) -> object:
    """A function by its name, applied to what its signature takes."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    function = FUNCTIONS.get(_BUILTINS.get(name, name))
    if function is None:
        _refuse(node.func, f"there is no such function; there are {', '.join(sorted({*FUNCTIONS, *_BUILTINS}))}")
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        _refuse(node, "functions take plain arguments")
    arguments = [_expression(argument) for argument in node.args]
    try:
        return function(*arguments)
    except TypeError as error:
        _refuse(node, str(error))
