# SPDX-License-Identifier: Apache-2.0
"""How many rows are shown, and fetching no more of them than that."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tablemgr.cli.exits import UsageError
from tablemgr.ends import END
from tablemgr.match_program import Query
from tablemgr.table import Table

TERMINAL_LIMIT = 1000
MOST = 2**62  # what is more is this: no table has as many rows
PAGE = 1000  # results that are in memory at a time where all are asked for


def add_limit(parser: argparse.ArgumentParser, what: str) -> None:
    """`--limit N`."""
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"show at most N {what}, 0: all (default: {TERMINAL_LIMIT} on a terminal, where they are paged; else all)",
    )


def is_paged(args: argparse.Namespace) -> bool:
    """Whether a person looks on."""
    return sys.stdout.isatty() and not args.json


def limit_of(args: argparse.Namespace) -> int:
    """The number of rows to show at most; 0: all of them. Raises UsageError for a negative one."""
    if args.limit is not None and args.limit < 0:
        raise UsageError("--limit must be 0 or more")
    if args.limit is not None:
        return min(int(args.limit), MOST)
    return TERMINAL_LIMIT if is_paged(args) else 0


def select(table: Table, query: Query, limit: int, *, reverse: bool = False) -> tuple[Iterable[Any], bool]:
    """The results of a query, at most `limit` unless that is 0, and whether there are more.

    What is wrong with table or query is raised here; without a limit the results come page by page as they are read."""
    results, more = table.select(query, limit=limit or PAGE, reverse=reverse)
    if limit:
        return results, more is not END
    return _all(table, results, more), False


def _all(table: Table, results: list[Any], more: Any) -> Iterator[Any]:
    yield from results
    while more is not END:
        results, more = table.select(more)
        yield from results
