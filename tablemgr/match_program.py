# SPDX-License-Identifier: Apache-2.0
"""Turns clauses into the programs that the core runs over rows; csrc/match_code.h has their layout and meaning.

A `Query` keeps clauses and what they were compiled to, once for each kind of table and use. Compiling is where
malformed clauses are refused: it needs no table's rows, so nothing has been touched then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tablemgr import _codec
from tablemgr.errors import BadMatchError
from tablemgr.match_code import CLAUSE, HEADER, MAGIC, OP
from tablemgr.match_compiler import Use, compile_clause, shown
from tablemgr.matching import ROW, VARS, Clause


@dataclass(frozen=True)
class Program:
    """A compiled query, and what it says about the rows that it can apply to.

    code: for the core. keys: the bound key of each clause in its encoded form, or None. prefixes: the bound beginning
    of each clause's tuple key as an encoded tuple, or None. is_rows: every result is the row itself. lookups: the keys
    whose rows are all that it can apply to, one after the other in the table's order, and backwards; None: any row.
    prefix: with which all keys of such rows begin, or None. plan: all of it as the core takes it.
    """

    code: bytes
    keys: tuple[bytes | None, ...]
    prefixes: tuple[bytes | None, ...]
    is_rows: bool
    lookups: tuple[bytes, bytes] | None
    prefix: bytes | None
    plan: _codec.Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        forth, back = self.lookups or (None, None)
        object.__setattr__(self, "plan", _codec.Plan(self.code, self.is_rows, forth, back, self.prefix))


class Query(_codec.Prepared):
    """Clauses that are compiled once and can be used again, on any table; the first that applies to a row decides.

    Pickles as its clauses. TypeError: there are none, or one is no `Clause`.
    """

    __slots__ = ("_clauses", "_programs")

    def __init__(self, *clauses: Clause) -> None:
        if not clauses:
            raise TypeError("at least one Clause is needed")
        for clause in clauses:
            if not isinstance(clause, Clause):
                raise TypeError(f"a Clause is needed, not {type(clause).__name__}: {shown(clause)}")
        self._clauses: Final = clauses
        self._programs: Final[dict[Use, Program]] = {}

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """What it was made of."""
        return self._clauses

    def __repr__(self) -> str:
        return f"Query(clauses={self.clauses!r})"

    def __reduce__(self) -> tuple[type[Query], tuple[Clause, ...]]:
        return Query, self.clauses

    def program(self, use: Use) -> Program:
        """The compiled form.

        Raises BadMatchError for a malformed clause, and with `use.replace` where it cannot be shown that the key is
        kept; TypeError for a head that is no pattern; TypeError, ValueError for a value that cannot be stored.
        """
        program = self._programs.get(use)
        if program is None:
            program = self._programs[use] = _assemble(self.clauses, use)
        return program


def match_query(pattern: object) -> Query:
    """What `match` asks: for each row that matches, the bound values in the order of the variables' numbers."""
    return Query(Clause(pattern, (), VARS))


def object_query(pattern: object) -> Query:
    """What `match_object` asks: the rows that match."""
    return Query(Clause(pattern, (), ROW))


def delete_query(pattern: object) -> Query:
    """What `match_delete` asks: True for the rows that match."""
    return Query(Clause(pattern, (), True))


# -- all clauses -------------------------------------------------------------------------------------------------------


def _assemble(clauses: tuple[Clause, ...], use: Use) -> Program:
    """The program of some clauses. What cannot match is left out of it, once it was found to be in order."""
    compiled = []
    for number, clause in enumerate(clauses, 1):
        try:
            one = compile_clause(clause, use)
        except BadMatchError as error:
            raise BadMatchError(f"clause {number}: {error}") from None
        except RecursionError:
            raise BadMatchError(f"clause {number}: nested too deep") from None
        if one is not None:
            compiled.append(one)
    table, data = b"", b""
    start = HEADER.size + CLAUSE.size * len(compiled)
    for code, key, prefix, _ in compiled:
        words = []
        for part in (code, key or b"", prefix or b""):
            words += [start + len(data), len(part)]
            data += part
        table += CLAUSE.pack(*words)
    slots = max((one[3] for one in compiled), default=0)
    prefixes = {one[2] for one in compiled}
    return Program(
        code=HEADER.pack(MAGIC, start + len(data), len(compiled), slots) + table + data,
        keys=tuple(one[1] for one in compiled),
        prefixes=tuple(one[2] for one in compiled),
        is_rows=all(one[0].endswith(OP["RETURN_ROW"]) for one in compiled),
        lookups=_lookups([one[1] for one in compiled], use.ordered),
        prefix=prefixes.pop() if use.ordered and len(prefixes) == 1 else None,
    )


def _lookups(keys: list[bytes | None], ordered: bool) -> tuple[bytes, bytes] | None:
    bound = [key for key in keys if key is not None]
    if len(bound) != len(keys):
        return None
    if ordered:  # keys of equal value are one key
        by_value = {_codec.sortkey(key): key for key in bound}
        bound = [by_value[place] for place in sorted(by_value)]
    bound = list(dict.fromkeys(bound))
    return b"".join(bound), b"".join(reversed(bound))
