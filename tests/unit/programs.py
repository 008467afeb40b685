# SPDX-License-Identifier: Apache-2.0
"""Compiled clauses, run over rows by the core itself."""

from __future__ import annotations

import ctypes
from typing import Any

from tablemgr import _codec
from tablemgr.match_compiler import Use
from tablemgr.match_program import Query
from tablemgr.matching import ANY, VARS, Clause, var
from tests.support.core import core

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
