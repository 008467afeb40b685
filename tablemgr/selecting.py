# SPDX-License-Identifier: Apache-2.0
"""The verbs that ask a pattern or clauses of every row: `Selecting`, a part of `Table`.

The clauses become a program (match_program.py) that the core runs over packed rows; only results are decoded. A query
whose clauses all bind the key is a lookup; one that binds leading elements of a tuple key is, in an ordered_set, a
range. Nothing here is a snapshot: each row is as it is when it is looked at, and each that is there throughout is
looked at exactly once.
"""

from __future__ import annotations

import functools
import operator
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn, SupportsIndex

from tablemgr._codec import AskVerbs, Binding, Plan
from tablemgr._ffi import Handle
from tablemgr.ends import END, End
from tablemgr.errors import BadMatchError, Status, TableNotFoundError
from tablemgr.match_compiler import Use
from tablemgr.match_program import Program, Query, delete_query, match_query, object_query
from tablemgr.matching import ANY, Clause

Row = tuple[Any, ...]
Cursor = tuple[int, int, bytes, bytes]
_RESULTS, _COUNT, _DELETE, _REPLACE = range(4)  # enum tmgr_query_mode


@dataclass(frozen=True, eq=False)
class Continuation:
    """Where a `match`, `match_object` or `select` with a limit goes on: plain, picklable, for the call that made it."""

    verb: str
    query: Query
    limit: int
    reverse: bool
    table_id: int
    cursor: Cursor


Further = Continuation | End


@functools.lru_cache(maxsize=256)
def _kept(clauses: tuple[Clause, ...]) -> Query:
    """Clauses compare by identity, so the same ones are compiled once."""
    return Query(*clauses)


def _query_of(clauses: tuple[Any, ...]) -> Query:
    if len(clauses) == 1 and isinstance(clauses[0], Query):
        return clauses[0]
    return _kept(clauses) if all(isinstance(clause, Clause) for clause in clauses) else Query(*clauses)


_TYPES_WITHOUT_REPLACE: Final = ("bag",)


class Selecting(AskVerbs):
    """What `Table` is asked with patterns and clauses."""

    __slots__ = ()

    _binding: Binding
    _handle: Handle
    _keypos: int
    _type: str
    _codec: str
    _use_here: Use
    _table_id: int

    # -- patterns -------------------------------------------------------------------------------------------------

    def _match(self, pattern: Any, limit: SupportsIndex | None = None) -> Any:
        """`match` of any pattern."""
        return self._matching("match", match_query, pattern, limit)

    def _match_object(self, pattern: Any, limit: SupportsIndex | None = None) -> Any:
        """`match_object` of any pattern."""
        return self._matching("match_object", object_query, pattern, limit)

    def match_delete(self, pattern: Any) -> int:
        """Delete the rows that the pattern matches, each by itself. Returns how many there were."""
        return self._count("match_delete", _DELETE, lambda: delete_query(pattern))

    def _matching(self, verb: str, query_of: Any, pattern: Any, limit: SupportsIndex | None) -> Any:
        if isinstance(pattern, (Continuation, End)):
            return self._go_on(verb, pattern, limit)
        return self._results(verb, lambda: query_of(pattern), limit, reverse=False)

    # -- clauses --------------------------------------------------------------------------------------------------

    def _select(self, *clauses: Any, limit: SupportsIndex | None = None, reverse: bool = False) -> Any:
        """`select` of any clauses."""
        if len(clauses) == 1 and isinstance(clauses[0], (Continuation, End)):
            return self._go_on("select", clauses[0], limit)
        return self._results("select", lambda: _query_of(clauses), limit, reverse)

    def select_count(self, *clauses: Any) -> int:
        """How many rows there are for which the clauses give exactly True."""
        return self._count("select_count", _COUNT, lambda: _query_of(clauses))

    def select_delete(self, *clauses: Any) -> int:
        """Delete the rows for which the clauses give exactly True, each by itself. Returns how many there were.

        A row that another process changes meanwhile is asked again as it is then.
        """
        return self._count("select_delete", _DELETE, lambda: _query_of(clauses))

    def select_replace(self, *clauses: Any) -> int:
        """Put what the clauses give, a row with the same key, in the place of the rows they apply to, each by itself.

        Returns how many rows that was. A row that another process changes meanwhile is asked again as it is then.
        Raises BadMatchError where it cannot be shown beforehand that the key is kept, TableTypeError for a bag.
        """
        if self._type in _TYPES_WITHOUT_REPLACE:
            self._admit("select_replace", write=True)
            self._handle.fail(Status.OPERATION, "select_replace")
        return self._count("select_replace", _REPLACE, lambda: _query_of(clauses))

    # -- running --------------------------------------------------------------------------------------------------

    def _admit(self, verb: str, *, write: bool = False) -> None:
        status = self._handle.admits(write=write)
        if status != Status.OK:
            self._handle.fail(status, verb)

    def _refuse(self, verb: str, error: Exception, *, write: bool = False) -> NoReturn:
        """Raise what is wrong with the table, which comes first, or with the arguments."""
        self._admit(verb, write=write)
        self._handle.blame(verb, error)

    def _program(self, verb: str, query: Any, *, write: bool = False, replace: bool = False) -> tuple[Query, Program]:
        """Compiled for this table."""
        try:
            asked: Query = query()
            return asked, asked.program(self._use_here._replace(replace=True) if replace else self._use_here)
        except Exception as error:
            self._refuse(verb, error, write=write)

    def _run(self, verb: str, mode: int, program: Program, reverse: bool, limit: int, cursor: Cursor | None) -> Any:
        return self._binding.query(verb, mode, program.plan, reverse, limit, cursor)

    def _plan_of_shape(self, head: tuple[Any, ...], guards: Any, body: Any) -> Plan | None:
        """What runs over the rows of a key that was looked up: the clause without its key. None: it is not in order."""
        at = self._keypos
        try:
            return Query(Clause((*head[:at], ANY, *head[at + 1 :]), guards, body)).program(self._use_here).plan
        except Exception:  # compiled whole it raises what it should
            return None

    def _count(self, verb: str, mode: int, query: Any) -> int:
        _, program = self._program(verb, query, write=mode >= _DELETE, replace=mode == _REPLACE)
        return int(self._run(verb, mode, program, False, -1, None))

    def _results(self, verb: str, query: Any, limit: SupportsIndex | None, reverse: bool) -> Any:
        asked, program = self._program(verb, query)
        if limit is None:
            return self._run(verb, _RESULTS, program, bool(reverse), -1, None)[0]
        try:
            n = _limit(limit)
        except (TypeError, ValueError) as error:
            self._refuse(verb, error)
        return self._page(Continuation(verb, asked, n, bool(reverse), self._table_id, (0, 0, b"", b"")), program)

    def _page(self, at: Continuation, program: Program) -> tuple[list[Any], Further]:
        results, cursor = self._run(at.verb, _RESULTS, program, at.reverse, at.limit, at.cursor)
        if cursor is None:
            return results, END
        return results, Continuation(at.verb, at.query, at.limit, at.reverse, at.table_id, cursor)

    def _go_on(self, verb: str, at: Further, limit: SupportsIndex | None) -> tuple[list[Any], Further]:
        if isinstance(at, End):
            self._admit(verb)
            return [], END
        if at.verb != verb:
            self._refuse(verb, BadMatchError(f"this is a continuation of {at.verb}; call {at.verb}(continuation)"))
        if limit is not None:
            self._refuse(verb, TypeError(f"a continuation keeps its limit of {at.limit}; leave limit out"))
        if at.table_id != self._table_id:
            self._admit(verb)
            raise TableNotFoundError(
                f"{verb}: the continuation is not of this table {self._handle.name!r}, but of another one, which may "
                f"have had its name before; go on with {verb}(continuation) of that table, or ask this one anew"
            )
        return self._page(at, self._program(verb, lambda: at.query)[1])


def _limit(limit: SupportsIndex) -> int:
    """A number of results. Raises TypeError, ValueError."""
    if isinstance(limit, bool) or not hasattr(limit, "__index__"):
        raise TypeError(f"limit must be an int or None for no limit, not {limit.__class__.__name__}")
    number = operator.index(limit)
    if number < 1:
        raise ValueError(f"limit must be a number of results from 1 up, not {number}")
    return min(number, sys.maxsize)
