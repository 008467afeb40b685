# SPDX-License-Identifier: Apache-2.0
"""Operations that ETS and a table both have; how each is said to either, and when the answers agree.

Where the two differ on purpose is written down where it is evened out, with the reason:

 - positions count from 0 here and from 1 there: they are translated;
 - insert gives None for `true`; delete and its kin give a number of rows, which for ETS is taken from the table's size;
 - ETS knows one exception, badarg, and sometimes a cause: EXCEPTIONS says which of ours is right for which cause, and
   `_also_right` which of several faults is told first;
 - the order of keys of different types differs: None and bools come before numbers here and after them there; tuples
   come last here, and before strings and by their length first there. Families of keys that both order alike are
   compared in order, other keys without;
 - hash tables have orders of their own: compared without order. In a bag that goes for the rows of one key too, which
   ETS gives in the order of insertion by `lookup` only. What ETS does with `next` of an absent key in a hash table
   (badarg) is not asked: here that key has its place;
 - before OTP 25.3 a list goes into a bag from its end (GH-6730): there no list has two rows with one key;
 - 0.0 and -0.0 match each other before OTP 27: -0.0 is drawn only where Erlang tells them apart, as we do;
 - NaN and the infinities are no floats in Erlang, sets and dates and their like have no counterpart: not drawn;
 - a table may be renamed to the name that it has here; ETS refuses;
 - VARS is a tuple here and a list there, `match` gives tuples here and lists there;
 - what fails in a body is the atom 'EXIT' there, and here the clause does not apply: results with it are taken out, and
   bodies in which more than one clause could apply, or whose result goes into the table, are drawn so as not to fail;
 - the end of a limited select is told with its last results here, so that it looks ahead to the next row that matches:
   a row that comes to match meanwhile, between the two, is seen there only. Something is inserted between chunks only
   where all rows match;
 - strings are binaries with a letter more there, and `hd` knows lists only: `size` and `first` are drawn where that is
   not to be seen;
 - round_ takes the even one of two that are as near, and there the one farther from zero: not drawn;
 - `//` and `%` floor here; there `div` and `rem` truncate: said there by a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tablemgr as tm
from tablemgr import matching
from tests.erlang.terms import Atom

Row = tuple[Any, ...]
Answer = tuple[str, Any]

# Which exceptions are right for the cause that ETS gives; where it gives none, a fault of any argument.
EXCEPTIONS: dict[str, tuple[type[Exception], ...]] = {
    "badkey": (KeyError,),
    "keypos": (ValueError,),
    "position": (IndexError,),
    "table_type": (tm.TableTypeError,),
    "already_exists": (tm.TableExistsError,),
    "none": (TypeError, ValueError, IndexError, tm.TableExistsError, tm.BadMatchError),
}


def typed(value: Any) -> Any:
    """A stand-in that is equal only to that of the same value and type, at every depth."""
    if isinstance(value, (tuple, list)):
        return type(value).__name__, [typed(part) for part in value]
    if isinstance(value, dict):
        return "dict", sorted((repr(typed(key)), typed(part)) for key, part in value.items())
    return type(value).__name__, repr(value)


@dataclass(frozen=True)
class Setting:
    """A kind of table, its key position, and whether both sides have its keys in the same order."""

    type: str
    keypos: int
    alike: bool

    @property
    def in_order(self) -> bool:
        """Whether whole tables come in one order."""
        return self.type == "ordered_set" and self.alike


@dataclass(frozen=True)
class Operation:
    """A method of Table and its arguments; a few verbs are made of several, see `_ours`."""

    verb: str
    args: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"table.{self.verb}({', '.join(map(repr, self.args))})"

    def theirs(self, setting: Setting) -> Any:
        """The request for ETS."""
        return _THEIRS.get(self.verb, _same)(self, setting)

    def perform(self, table: tm.Table) -> Answer:
        """The table's own answer: ("ok", value) or ("refused", the exception)."""
        try:
            return "ok", _OURS.get(self.verb, _method)(table, self)
        except (tm.TableError, KeyError, IndexError, TypeError, ValueError) as error:
            return "refused", error

    def agree(self, theirs: Answer, ours: Answer, setting: Setting) -> bool:
        """Whether both said the same."""
        if _also_right(self, theirs, ours, setting):
            return True
        if theirs[0] == "badarg" or ours[0] == "refused":
            both = theirs[0] == "badarg" and ours[0] == "refused"
            return both and isinstance(ours[1], EXCEPTIONS[theirs[1]])
        return bool(self._comparable(_translated(self, theirs[1]), setting) == self._comparable(ours[1], setting))

    def _comparable(self, value: Any, setting: Setting) -> Any:
        if self.verb in _WHOLE_TABLE and not setting.in_order:
            return sorted(repr(typed(each)) for each in value)
        return typed(value)


# Verbs whose answer is a list in the order of the table.
_WHOLE_TABLE = {
    "keys",
    "keys_backwards",
    "contents",
    "match",
    "match_object",
    "select",
    "select_reverse",
    "chunks",
    "range",
}


# -- how it is said to ETS ---------------------------------------------------------------------------------------------


def _call(function: str, *args: Any) -> Any:
    return Atom("call"), Atom(function), list(args)


def _counted(function: str, *args: Any) -> Any:
    return Atom("counted"), Atom(function), list(args)


def _same(operation: Operation, _: Setting) -> Any:
    return _call(operation.verb, *operation.args)


def _position(position: Any) -> Any:
    return position + 1 if isinstance(position, int) else position


def _shifted(op: Any) -> Any:
    """An operation of update_counter or update_element, or a list of them, with ETS's positions."""
    if isinstance(op, list):
        return [_shifted(each) for each in op]
    return (_position(op[0]), *op[1:]) if isinstance(op, tuple) and op else op


def _pattern(pattern: Any) -> Any:
    if pattern is matching.ANY:
        return Atom("_")
    if isinstance(pattern, matching.Variable):
        return Atom(f"${pattern.number}")
    if isinstance(pattern, (tuple, list)):
        return type(pattern)(map(_pattern, pattern))
    if isinstance(pattern, dict):
        return {key: _pattern(value) for key, value in pattern.items()}
    return pattern


_FUNCTIONS = {
    "==": "==", "!=": "/=", "<": "<", "<=": "=<", ">": ">", ">=": ">=", "+": "+", "-": "-", "*": "*", "/": "/",
    "&": "and", "|": "or", "^": "xor", "not_": "not", "and_": "andalso", "or_": "orelse", "is_same": "=:=", "neg": "-",
    "is_int": "is_integer", "is_float": "is_float", "is_number": "is_number", "rest": "tl",
    "is_tuple": "is_tuple", "is_list": "is_list", "is_dict": "is_map", "abs_": "abs", "round_": "round", "first": "hd",
    "floor": "floor", "ceil": "ceil", "trunc": "trunc", "float_": "float", "min_": "min", "max_": "max", "size": "size",
    "length": "length", "band": "band", "bor": "bor", "bxor": "bxor", "bnot": "bnot", "bsl": "bsl", "bsr": "bsr",
}  # fmt: skip


def expression_term(value: Any) -> Any:
    """An expression of a guard or body as ETS writes it."""
    if isinstance(value, matching.Call):
        operands = [expression_term(operand) for operand in value.operands]
        if value.name == "element":
            position = operands[1]
            return Atom("element"), position + 1 if isinstance(position, int) else (Atom("+"), 1, position), operands[0]
        if value.name in ("map_get", "is_map_key"):
            return Atom(value.name), operands[1], operands[0]
        if value.name == "is_none":
            return Atom("=:="), operands[0], None
        if value.name == "is_bool":
            return Atom("orelse"), *((Atom("=:="), operands[0], name) for name in (False, True))
        if value.name in ("//", "%"):
            a, b = operands
            modulo = Atom("rem"), (Atom("+"), (Atom("rem"), a, b), b), b
            return modulo if value.name == "%" else (Atom("div"), (Atom("-"), a, modulo), b)
        return Atom(_FUNCTIONS[value.name]), *operands
    if isinstance(value, matching.Variable):
        return Atom(f"${value.number}")
    if value is matching.ROW:
        return Atom("$_")
    if value is matching.VARS:
        return Atom("$$")
    if isinstance(value, tuple):
        return (tuple(map(expression_term, value)),)
    if isinstance(value, list):
        return [expression_term(each) for each in value]
    if isinstance(value, dict):
        return {key: expression_term(each) for key, each in value.items()}
    return value


@dataclass(frozen=True)
class Abilities:
    """What this Erlang has that others have not, asked of itself."""

    functions: set[tuple[str, int]]  # names and arities
    expressions: frozenset[str]  # names of our calls that match specifications have
    keeps_lists: bool  # a list goes into a bag in its order
    signs_zero: bool  # 0.0 and -0.0 are told apart


def abilities_of(functions: set[tuple[str, int]], run: Callable[[str, int, list[Any]], list[Any]]) -> Abilities:
    """Ask. functions, run: those of Ets."""
    names = [name for name in _FUNCTIONS if name not in ("neg", "not_", "&", "|", "^", "and_", "or_")]
    unary = {name for name in names if name.startswith("is_") and name != "is_same"}
    unary |= {"rest", "abs_", "round_", "first", "floor", "ceil", "trunc", "float_", "size", "length", "bnot"}
    clauses: list[Any] = [
        (Atom("$1"), [], [(Atom(_FUNCTIONS[name]), *[1] * (1 if name in unary else 2))]) for name in names
    ]
    known = run("set", 0, [_call("select", [clause]) for clause in clauses])
    _, in_order = run("bag", 0, [_call("insert", [(1, 1), (1, 2)]), _call("lookup_element", 1, 2)])
    _, zeros = run("set", 0, [_call("insert", [(0.0,), (-0.0,)]), _call("info", Atom("size"))])
    return Abilities(
        functions,
        frozenset(name for name, answer in zip(names, known, strict=True) if answer[0] == "ok") | {"neg"},
        keeps_lists=in_order[1] == [1, 2],
        signs_zero=zeros[1] == 2,
    )


def _clause(clause: matching.Clause) -> Any:
    return _pattern(clause.head), [expression_term(guard) for guard in clause.guards], [expression_term(clause.body)]


def _clauses(operation: Operation, _: Setting) -> Any:
    return _call(operation.verb, [_clause(clause) for clause in operation.args])


def _chunks(operation: Operation, setting: Setting) -> Any:
    verb, limit, between, *args = operation.args
    request = [_clause(clause) for clause in args] if verb.startswith("select") else _pattern(args[0])
    return Atom("chunks"), Atom(verb), [request, limit], [each.theirs(setting) for each in between]


def _range(operation: Operation, setting: Setting) -> Any:
    lo, hi, reverse, _limit = operation.args
    key = Atom("element"), setting.keypos + 1, Atom("$_")
    guards = [(Atom(sign), key, (Atom("const"), bound)) for sign, bound in ((">=", lo), ("<", hi)) if bound is not None]
    return _call("select_reverse" if reverse else "select", [(Atom("_"), guards, [Atom("$_")])])


_THEIRS: dict[str, Callable[[Operation, Setting], Any]] = {
    "contains": lambda operation, _: _call("member", *operation.args),
    "contents": lambda *_: _call("tab2list"),
    "rows": lambda *_: _call("info", Atom("size")),
    "keys": lambda *_: (Atom("walk"), Atom("first"), Atom("next")),
    "keys_backwards": lambda *_: (Atom("walk"), Atom("last"), Atom("prev")),
    "rename": lambda operation, _: _call("rename", Atom(operation.args[0])),
    "delete": lambda operation, _: _counted("delete", *operation.args),
    "delete_object": lambda operation, _: _counted("delete_object", *operation.args),
    "delete_all": lambda *_: _counted("delete_all_objects"),
    "lookup_element": lambda operation, _: _call(
        "lookup_element", operation.args[0], _position(operation.args[1]), *operation.args[2:]
    ),
    "update_counter": lambda operation, _: _call(
        "update_counter", operation.args[0], _shifted(operation.args[1]), *operation.args[2:]
    ),
    "update_element": lambda operation, _: _call(
        "update_element", operation.args[0], _shifted(operation.args[1]), *operation.args[2:]
    ),
    "range": _range,
    "match": lambda operation, _: _call("match", _pattern(operation.args[0])),
    "match_object": lambda operation, _: _call("match_object", _pattern(operation.args[0])),
    "match_delete": lambda operation, _: _counted("match_delete", _pattern(operation.args[0])),
    "select": _clauses,
    "select_reverse": _clauses,
    "select_count": _clauses,
    "select_delete": _clauses,
    "select_replace": _clauses,
    "chunks": _chunks,
}


# -- how it is said to a table -----------------------------------------------------------------------------------------


def _method(table: tm.Table, operation: Operation) -> Any:
    return getattr(table, operation.verb)(*operation.args)


def _walk(key: Any, step: Callable[[Any], Any]) -> list[Any]:
    keys = []
    while key is not tm.END:
        keys.append(key)
        key = step(key)
    return keys


def _select(table: Any) -> Any:
    return table.select


def _our_chunks(table: tm.Table, operation: Operation) -> list[list[Any]]:
    verb, limit, between, *args = operation.args
    reverse = {"reverse": True} if verb == "select_reverse" else {}
    method = _select(table) if reverse else getattr(table, verb)
    chunk, continuation = method(*args, limit=limit, **reverse)
    chunks = [chunk]
    for each in between:
        each.perform(table)
    while continuation is not tm.END:
        chunk, continuation = method(continuation)
        chunks.append(chunk)
    assert all(len(chunk) <= limit for chunk in chunks)
    return [each for chunk in chunks for each in chunk]


_OURS: dict[str, Callable[[tm.Table, Operation], Any]] = {
    "contains": lambda table, operation: operation.args[0] in table,
    "contents": lambda table, _: list(table),
    "rows": lambda table, _: len(table),
    "keys": lambda table, _: _walk(table.first(), table.next),
    "keys_backwards": lambda table, _: _walk(table.last(), table.prev),
    "range": lambda table, operation: list(
        table.range(*operation.args[:2], reverse=operation.args[2], limit=operation.args[3])
    ),
    "select_reverse": lambda table, operation: _select(table)(*operation.args, reverse=True),
    "chunks": _our_chunks,
}


# -- when the answers agree --------------------------------------------------------------------------------------------


def _translated(operation: Operation, value: Any) -> Any:
    """What ETS said, as a table says it."""
    verb = operation.verb
    if verb in ("insert", "rename"):
        return None
    if verb in ("first", "last", "next", "prev", "first_lookup", "last_lookup", "next_lookup", "prev_lookup"):
        return tm.END if value == "$end_of_table" else value
    if verb == "range" and operation.args[3] is not None:
        return value[: operation.args[3]]
    if verb == "match":
        return [tuple(each) for each in value]
    if verb == "chunks":
        verb = operation.args[0]
        value = [each for chunk in value for each in chunk]
        if verb == "match":
            return [tuple(each) for each in value]
    if verb in ("select", "select_reverse"):
        clauses = operation.args[3:] if operation.verb == "chunks" else operation.args
        lists = any(clause.body is matching.VARS for clause in clauses)
        return [tuple(each) if lists and isinstance(each, list) else each for each in value if not _has_exit(each)]
    return value


def _has_exit(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_exit, value))
    return _has_exit(list(value.values())) if isinstance(value, dict) else value == Atom("EXIT")


def _also_right(operation: Operation, theirs: Answer, ours: Answer, setting: Setting) -> bool:
    """Whether the answers differ, but both as documented."""
    if operation.verb == "lookup_element" and operation.args[1] < 0 and theirs[0] == "badarg":
        return len(operation.args) == 3 or isinstance(ours[1], KeyError)  # the key comes before the position here
    if operation.verb == "rename" and operation.args[0] != "taken" and theirs[0] == "badarg":
        return ours[0] == "ok"  # its own name
    if theirs[0] == "badarg" and isinstance(ours[1], TypeError):
        return _misshapen(operation)  # the shape of arguments comes before the key and the row here
    return False


def _misshapen(operation: Operation) -> bool:
    """Whether the arguments of an update are of a wrong type, whatever is in the table."""
    if operation.verb != "update_counter":
        return False
    op = operation.args[1]
    counts = [op] if not isinstance(op, (tuple, list)) else []
    for each in op if isinstance(op, list) else [op] if isinstance(op, tuple) else []:
        counts += each[1:]
    return not all(isinstance(count, int) for count in counts)
