# SPDX-License-Identifier: Apache-2.0
"""`tablemgr show`: the rows of a table."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable

from tablemgr.cli import clauses, literals, paging
from tablemgr.cli.answers import Answer, Rows
from tablemgr.cli.command import Command
from tablemgr.cli.exits import UsageError
from tablemgr.cli.opening import attach


def configure(parser: argparse.ArgumentParser) -> None:
    """`show TABLE [--match PATTERN | --from KEY --to KEY] [--reverse] [--limit N]`."""
    parser.add_argument("table", help="name of the table")
    parser.add_argument(
        "--match",
        metavar="PATTERN",
        help="only rows that match: a tuple with values, _ for any value, v1 (or $1) for the same value each time",
    )
    parser.add_argument("--from", dest="lo", metavar="KEY", help="ordered_set: only keys from this one on")
    parser.add_argument("--to", dest="hi", metavar="KEY", help="ordered_set: only keys before this one")
    parser.add_argument("--reverse", action="store_true", help="ordered_set: from its end")
    paging.add_limit(parser, "rows")


def run(args: argparse.Namespace) -> Answer:
    """The rows in the table's own order, live: rows written meanwhile may or may not be among them."""
    limit = paging.limit_of(args)
    has_bounds = args.lo is not None or args.hi is not None
    if args.match is not None and has_bounds:
        raise UsageError("--match does without --from and --to: select TABLE PATTERN --where 'v1 >= KEY' has both")
    query = None if args.match is None else clauses.query(clauses.pattern(args.match))
    table = attach(args.table, args.instance, readonly=True)
    rows: Iterable[tuple[object, ...]]
    total, more = None, False
    if query is not None:
        rows, more = paging.select(table, query, limit, reverse=args.reverse)
    elif has_bounds or args.reverse:
        lo, hi = (None if bound is None else literals.parse(bound) for bound in (args.lo, args.hi))
        rows = table.range(lo, hi, reverse=args.reverse, limit=limit + 1 if limit else None)
        if limit:
            found = list(rows)
            rows, more = found[:limit], len(found) > limit
    else:
        rows, total = itertools.islice(table, limit or None), len(table)
    return Answer(Rows(args.table, table.keypos, rows, total=total, paged=paging.is_paged(args), more=more))


COMMAND = Command("show", "show the rows of a table", configure, run)
