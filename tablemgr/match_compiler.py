# SPDX-License-Identifier: Apache-2.0
"""Compiles one clause, or refuses it as malformed: instructions for head, guards and body, and the key they bind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tablemgr import _codec
from tablemgr.errors import BadMatchError
from tablemgr.match_code import CALLS, OP, SLOTS_MAX, WORD
from tablemgr.matching import ANY, ROW, VARS, Call, Clause, Expression, Variable


class Use(NamedTuple):
    """What a program is compiled for.

    keypos: of the table. ordered: keys of equal value are one, and leading elements of a tuple key bind a range.
    pickle: the table's codec. replace: the bodies are rows that take the place of those they are made from.
    """

    keypos: int = 0
    ordered: bool = False
    pickle: bool = False
    replace: bool = False


def compile_clause(clause: Clause, use: Use) -> tuple[bytes, bytes | None, bytes | None, int] | None:
    """Code, key, prefix and number of slots of a clause; None: it cannot match, but is in order."""
    compiler = _Compiler(clause, use)
    code = compiler.code()
    if compiler.is_too_short():
        return None
    if use.replace:
        compiler.check_replacement()
    if compiler.has_no_key():
        return None
    return code, compiler.key(), compiler.prefix(), len(compiler.slots)


def shown(value: object) -> str:
    """The beginning of its repr, for messages; its type where there is none, as for ints of many digits."""
    try:
        text = repr(value)
    except Exception:
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


# -- values with holes -------------------------------------------------------------------------------------------------


def _is_hole(value: object) -> bool:
    return value is ANY or isinstance(value, Expression)


def _parts(value: object) -> Iterator[object]:
    """What a container holds, keys of dicts included."""
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, (tuple, list, set, frozenset)):
        yield from value


def _has_hole(value: object) -> bool:
    """Whether there is a variable, expression or ANY in it. BadMatchError: where there cannot be one."""
    if _is_hole(value):
        return True
    found = any(_has_hole(part) for part in _parts(value))
    if found and type(value) not in (tuple, list, dict):
        raise BadMatchError(f"no variable, expression or ANY can stand in a {type(value).__name__}: {shown(value)}")
    return found


def _has_dict(value: object) -> bool:
    """Whether there is a dict in it among tuples, lists and dicts: in a pattern it has to have its items only."""
    return type(value) is dict or (type(value) in (tuple, list) and any(_has_dict(part) for part in _parts(value)))


def _variables(value: object) -> Iterator[int]:
    """The numbers of the variables in it, each time they come."""
    if isinstance(value, Variable):
        yield value.number
    elif isinstance(value, Call):
        for operand in value.operands:
            yield from _variables(operand)
    else:
        for part in _parts(value):
            yield from _variables(part)


def _asks_for_all(value: object) -> bool:
    """Whether VARS is in it."""
    if isinstance(value, Call):
        return any(_asks_for_all(operand) for operand in value.operands)
    return value is VARS or any(_asks_for_all(part) for part in _parts(value))


def _key_bytes(value: object) -> bytes | None:
    """The encoded key; None where a value can be none."""
    try:
        return _codec.encode_key(value)
    except (TypeError, ValueError):
        return None


# -- one clause --------------------------------------------------------------------------------------------------------


class _Compiler:
    """Compiles one clause. Guards and body are looked at first, to bind only what they use."""

    def __init__(self, clause: Clause, use: Use) -> None:
        self.use = use
        self.head = clause.head
        if not (type(self.head) is tuple or self.head is ANY or isinstance(self.head, Variable)):
            raise TypeError(
                f"a pattern is a tuple, ANY or a variable, not {type(self.head).__name__}: {shown(self.head)}"
            )
        if not isinstance(clause.guards, (list, tuple)):
            raise BadMatchError(f"guards are a list or tuple of expressions, not {type(clause.guards).__name__}")
        self.guards = tuple(clause.guards)
        self.body = clause.body
        in_head = list(_variables(self.head))
        self.numbers = sorted(set(in_head))
        uses_all = _asks_for_all((self.guards, self.body))
        used = {number for number in in_head if uses_all or in_head.count(number) > 1}
        self.used = used.union(_variables((self.guards, self.body)))
        self.slots: dict[int, int] = {}

    def encode(self, value: object) -> bytes:
        """A value as it stands in rows, with its length before it."""
        encoded = _codec.encode(value, pickle=self.use.pickle)
        return WORD.pack(len(encoded)) + encoded

    # -- the head

    def pattern(self, term: object) -> bytes:
        """The instructions that match a term of the row."""
        if term is ANY:
            return OP["ANY"]
        if isinstance(term, Variable):
            return self.hole(term.number)
        if isinstance(term, Expression):
            raise BadMatchError(f"a pattern has variables and ANY in it, but no expressions: {shown(term)}")
        if type(term) is dict:
            return self.dict_pattern(term)
        has_hole = _has_hole(term)
        if isinstance(term, (tuple, list)) and (has_hole or _has_dict(term)):
            return self.sequence("TUPLE_OF" if type(term) is tuple else "LIST_OF", term)
        return OP["LITERAL"] + self.encode(term)

    def hole(self, number: int) -> bytes:
        """A variable: bound where it comes first, compared where it comes again."""
        if number not in self.used:
            return OP["ANY"]
        if number in self.slots:
            return OP["SAME"] + WORD.pack(self.slots[number])
        if len(self.slots) == SLOTS_MAX:
            raise BadMatchError(f"a head has at most {SLOTS_MAX} variables that are used")
        self.slots[number] = len(self.slots)
        return OP["BIND"] + WORD.pack(self.slots[number])

    def sequence(self, op: str, terms: Sequence[object]) -> bytes:
        """The elements; what stands behind the last one that says something is left to itself."""
        patterns = [self.pattern(term) for term in terms]
        n = len(patterns)
        while patterns and patterns[-1] == OP["ANY"]:
            patterns.pop()
        return OP[op] + WORD.pack(n) + WORD.pack(len(patterns)) + b"".join(patterns)

    def dict_pattern(self, items: dict[object, object]) -> bytes:
        """Keys to be found, and patterns for their values."""
        parts = [OP["DICT_OF"], WORD.pack(len(items))]
        for key, value in items.items():
            if _has_hole(key):
                raise BadMatchError(f"a key of a dict in a pattern cannot be a variable or ANY: {shown(key)}")
            parts += self.encode(key), self.pattern(value)
        return b"".join(parts)

    def row_pattern(self) -> bytes:
        """The whole head."""
        if type(self.head) is not tuple:
            return OP["ANY"]
        return self.sequence("ROW_OF", self.head)

    # -- guards and body

    def expression(self, term: object) -> bytes:
        """The instructions that leave the value of a term on the stack."""
        if isinstance(term, Variable):
            return self.variable(term.number)
        if isinstance(term, Call):
            return self.call(term)
        if term is ROW:
            return OP["ROW"]
        if term is VARS:
            return self.making("MAKE_TUPLE", [self.variable(number) for number in self.numbers])
        if term is ANY:
            raise BadMatchError("ANY stands for no value: it belongs into a head")
        if not _has_hole(term):
            return OP["CONSTANT"] + self.encode(term)
        if isinstance(term, dict):
            items = [self.expression(key) + self.expression(value) for key, value in term.items()]
            return self.making("MAKE_DICT", items)
        assert isinstance(term, (tuple, list))
        return self.making("MAKE_TUPLE" if type(term) is tuple else "MAKE_LIST", [self.expression(x) for x in term])

    def making(self, op: str, items: list[bytes]) -> bytes:
        """The items, then what makes one of them."""
        return b"".join(items) + OP[op] + WORD.pack(len(items))

    def variable(self, number: int) -> bytes:
        """The value of a variable; of one for the whole row, the row."""
        if isinstance(self.head, Variable) and self.head.number == number:
            return OP["ROW"]
        if number not in self.slots:
            raise BadMatchError(f"var({number}) is not in the head {shown(self.head)}")
        return OP["VARIABLE"] + WORD.pack(self.slots[number])

    def call(self, call: Call) -> bytes:
        """An operator or function."""
        if call.name not in CALLS and call.name not in ("and_", "or_"):
            raise BadMatchError(f"there is no function {call.name}")
        operands = [self.expression(operand) for operand in call.operands]
        if call.name in ("and_", "or_"):
            code = operands[0] + OP["BOOL"]
            for operand in operands[1:]:
                block = operand + OP["BOOL"]
                code += OP["AND_THEN" if call.name == "and_" else "OR_ELSE"] + WORD.pack(len(block)) + block
            return code
        if call.name == "element" and self.is_row(call.operands[0]):
            position = call.operands[1]
            if type(position) is int and 0 <= position < 2**32:
                return OP["ROW_ITEM"] + WORD.pack(position)
        return b"".join(operands) + CALLS[call.name]

    def is_row(self, term: object) -> bool:
        """Whether it is the row, by one name or the other."""
        if isinstance(term, Variable):
            return isinstance(self.head, Variable) and self.head.number == term.number
        return term is ROW

    def code(self) -> bytes:
        """The whole clause."""
        parts = [self.row_pattern()]
        for guard in self.guards:
            parts += self.expression(guard), OP["REQUIRE"]
        if self.is_row(self.body):
            parts.append(OP["RETURN_ROW"])
        else:
            parts += self.expression(self.body), OP["RETURN"]
        return b"".join(parts)

    # -- the key

    def key_pattern(self) -> object:
        """The head's element at the key's position; ANY where the head is one for the whole row."""
        return self.head[self.use.keypos] if type(self.head) is tuple else ANY

    def is_too_short(self) -> bool:
        """Whether the head has no element at the key's position: no row is so short."""
        return type(self.head) is tuple and len(self.head) <= self.use.keypos

    def has_no_key(self) -> bool:
        """Whether the head has a value for a key that no key can be."""
        return not _has_hole(self.key_pattern()) and _key_bytes(self.key_pattern()) is None

    def key(self) -> bytes | None:
        """The key that is bound."""
        return None if _has_hole(self.key_pattern()) else _key_bytes(self.key_pattern())

    def prefix(self) -> bytes | None:
        """In an ordered_set, the elements that are bound at the beginning of a tuple key of which others are not."""
        term = self.key_pattern()
        if not self.use.ordered or type(term) is not tuple or not _has_hole(term):
            return None
        bound = tuple(itertools.takewhile(lambda part: not _has_hole(part) and _key_bytes(part) is not None, term))
        return _key_bytes(bound) if bound else None

    def check_replacement(self) -> None:
        """Refuse a body that is not seen to be a row with the head's key."""
        if self.is_row(self.body):
            return
        if type(self.body) is not tuple or len(self.body) <= self.use.keypos:
            raise BadMatchError(
                f"the body has to be ROW, or a tuple with the key at {self.use.keypos}: {shown(self.body)}"
            )
        kept = self.body[self.use.keypos]
        is_element = isinstance(kept, Call) and kept.name == "element" and self.is_row(kept.operands[0])
        if is_element and isinstance(kept, Call) and type(kept.operands[1]) is int:
            if kept.operands[1] == self.use.keypos:
                return
        elif self.is_kept(self.key_pattern(), kept):
            return
        raise BadMatchError(
            f"the body's element {self.use.keypos}, {shown(kept)}, is not seen to be the key: repeat the head's "
            f"variable or value there, or write element(ROW, {self.use.keypos})"
        )

    def is_kept(self, pattern: object, body: object) -> bool:
        """Whether a part of the body has the value that the same part of the key has."""
        if isinstance(pattern, Variable) or isinstance(body, Variable):
            return isinstance(pattern, Variable) and isinstance(body, Variable) and pattern.number == body.number
        if _is_hole(pattern) or _is_hole(body):
            return False
        if type(pattern) is tuple and type(body) is tuple:
            return len(pattern) == len(body) and all(map(self.is_kept, pattern, body))
        return not _has_hole(body) and self.encode(pattern) == self.encode(body)
