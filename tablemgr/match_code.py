# SPDX-License-Identifier: Apache-2.0
"""The instructions of programs over rows, by name; csrc/match_code.h has their numbers, layout and meaning."""

from __future__ import annotations

import struct

# enum match_op of csrc/match_code.h, in its order; a test holds the two together.
OPS = [
    "ANY",
    "BIND",
    "SAME",
    "LITERAL",
    "ROW_OF",
    "TUPLE_OF",
    "LIST_OF",
    "DICT_OF",
    "CONSTANT",
    "VARIABLE",
    "ROW",
    "ROW_ITEM",
    "IS",
    "NOT",
    "SIZE",
    "LENGTH",
    "FIRST",
    "LAST",
    "REST",
    "UNARY",
    "BINARY",
    "EQUAL",
    "NOT_EQUAL",
    "LESS",
    "LESS_EQUAL",
    "GREATER",
    "GREATER_EQUAL",
    "IS_SAME",
    "AND",
    "OR",
    "XOR",
    "MIN",
    "MAX",
    "ELEMENT",
    "MAP_GET",
    "IS_MAP_KEY",
    "AND_THEN",
    "OR_ELSE",
    "BOOL",
    "MAKE_TUPLE",
    "MAKE_LIST",
    "MAKE_DICT",
    "REQUIRE",
    "RETURN",
    "RETURN_ROW",
]
OP = {name: bytes([number]) for number, name in enumerate(OPS)}

# enum arithmetic_op of csrc/arithmetic.h and enum view_kind of csrc/view.h, likewise.
ARITHMETIC = [
    "ADD",
    "SUBTRACT",
    "MULTIPLY",
    "DIVIDE",
    "FLOOR_DIVIDE",
    "MODULO",
    "AND",
    "OR",
    "XOR",
    "SHIFT_LEFT",
    "SHIFT_RIGHT",
    "NEGATE",
    "ABSOLUTE",
    "ROUND",
    "FLOOR",
    "CEIL",
    "TRUNCATE",
    "FLOAT",
    "INVERT",
]
KINDS = [
    "NONE",
    "FALSE",
    "TRUE",
    "NUMBER",
    "STR",
    "BYTES",
    "DATE",
    "DATETIME",
    "TIME",
    "TIMEDELTA",
    "DECIMAL",
    "UUID",
    "TUPLE",
    "LIST",
    "DICT",
    "SET",
    "FROZENSET",
    "BYTEARRAY",
]

MAGIC = 0x314D4754
HEADER = struct.Struct("=4I")
CLAUSE = struct.Struct("=6I")
WORD = struct.Struct("=I")
SLOTS_MAX = 256


def _kinds(*names: str) -> bytes:
    """The instruction that tests for kinds."""
    return OP["IS"] + WORD.pack(sum(1 << KINDS.index(name) for name in names))


def _arithmetic(op: str, name: str) -> bytes:
    """The instruction that calculates."""
    return OP[op] + WORD.pack(ARITHMETIC.index(name))


# What the calls of matching.py and match_functions.py are as instructions, behind those of their operands.
CALLS = {
    "==": OP["EQUAL"],
    "!=": OP["NOT_EQUAL"],
    "is_same": OP["IS_SAME"],
    "<": OP["LESS"],
    "<=": OP["LESS_EQUAL"],
    ">": OP["GREATER"],
    ">=": OP["GREATER_EQUAL"],
    "&": OP["AND"],
    "|": OP["OR"],
    "^": OP["XOR"],
    "not_": OP["NOT"],
    "size": OP["SIZE"],
    "length": OP["LENGTH"],
    "first": OP["FIRST"],
    "last": OP["LAST"],
    "rest": OP["REST"],
    "element": OP["ELEMENT"],
    "map_get": OP["MAP_GET"],
    "is_map_key": OP["IS_MAP_KEY"],
    "min_": OP["MIN"],
    "max_": OP["MAX"],
    "+": _arithmetic("BINARY", "ADD"),
    "-": _arithmetic("BINARY", "SUBTRACT"),
    "*": _arithmetic("BINARY", "MULTIPLY"),
    "/": _arithmetic("BINARY", "DIVIDE"),
    "//": _arithmetic("BINARY", "FLOOR_DIVIDE"),
    "%": _arithmetic("BINARY", "MODULO"),
    "band": _arithmetic("BINARY", "AND"),
    "bor": _arithmetic("BINARY", "OR"),
    "bxor": _arithmetic("BINARY", "XOR"),
    "bsl": _arithmetic("BINARY", "SHIFT_LEFT"),
    "bsr": _arithmetic("BINARY", "SHIFT_RIGHT"),
    "neg": _arithmetic("UNARY", "NEGATE"),
    "abs_": _arithmetic("UNARY", "ABSOLUTE"),
    "round_": _arithmetic("UNARY", "ROUND"),
    "floor": _arithmetic("UNARY", "FLOOR"),
    "ceil": _arithmetic("UNARY", "CEIL"),
    "trunc": _arithmetic("UNARY", "TRUNCATE"),
    "float_": _arithmetic("UNARY", "FLOAT"),
    "bnot": _arithmetic("UNARY", "INVERT"),
    "is_bool": _kinds("FALSE", "TRUE"),
    "is_int": OP["IS"] + WORD.pack(1 << 30),
    "is_float": OP["IS"] + WORD.pack(1 << 29),
    "is_number": OP["IS"] + WORD.pack(1 << 30 | 1 << 29),
    **{f"is_{name.lower()}": _kinds(name) for name in KINDS if name not in ("FALSE", "TRUE", "NUMBER")},
}
