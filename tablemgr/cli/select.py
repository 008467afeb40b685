# SPDX-License-Identifier: Apache-2.0
"""`tablemgr select`: what a clause makes of the rows it applies to; or how many there are; or away with them."""

from __future__ import annotations

import argparse

from tablemgr.cli import asking, clauses, paging
from tablemgr.cli.answers import Answer, Done, Rows
from tablemgr.cli.command import Command
from tablemgr.cli.exits import UsageError
from tablemgr.cli.opening import attach
from tablemgr.match_program import Query
from tablemgr.matching import ROW


def configure(parser: argparse.ArgumentParser) -> None:
    """`select TABLE HEAD [--where EXPR]... [--give EXPR | --count | --delete [--yes]] [--limit N] [--reverse]`."""
    parser.add_argument("table", help="name of the table")
    parser.add_argument("head", help="a pattern: a tuple with values, _ for any value, variables v1, v2, ...; or _")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="EXPR",
        help="a Python expression over v1, v2, ... and row that has to be True; may come several times",
    )
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--give", metavar="EXPR", help="what to show, an expression too (default: the row)")
    wanted.add_argument("--count", action="store_true", help="count the rows")
    wanted.add_argument("--delete", action="store_true", help="delete the rows; asks first")
    parser.add_argument("--yes", action="store_true", help="with --delete: do not ask")
    paging.add_limit(parser, "results")
    parser.add_argument("--reverse", action="store_true", help="an ordered_set from its end")


def run(args: argparse.Namespace) -> Answer:
    """The clause is found to be in order before the table is touched; rows are looked at live, each by itself."""
    limit = paging.limit_of(args)
    if (args.count or args.delete) and (args.limit is not None or args.reverse):
        raise UsageError("--limit and --reverse are for what is shown: --count and --delete take all rows")
    if args.yes and not args.delete:
        raise UsageError("--yes answers what only --delete asks")
    head = clauses.pattern(args.head)
    guards = [clauses.expression(guard) for guard in args.where]
    if args.count or args.delete:
        return _count_or_delete(args, clauses.query(head, guards, True))
    query = clauses.query(head, guards, ROW if args.give is None else clauses.expression(args.give))
    table = attach(args.table, args.instance, readonly=True)
    results, more = paging.select(table, query, limit, reverse=args.reverse)
    keypos = table.keypos if args.give is None else None
    return Answer(Rows(args.table, keypos, results, total=None, paged=paging.is_paged(args), more=more))


def _count_or_delete(args: argparse.Namespace, query: Query) -> Answer:
    with attach(args.table, args.instance, readonly=args.count) as table:
        if args.count:
            count = table.select_count(query)
            return Answer(Done(f"{count:,}", {"table": args.table, "count": count}))
        if not args.yes:
            count = table.select_count(query)
            asking.confirm(f"delete {count:,} of {len(table):,} rows of {args.table}?")
        deleted = table.select_delete(query)
    text = f"{deleted:,} {'row' if deleted == 1 else 'rows'} deleted from {args.table}"
    return Answer(Done(text, {"table": args.table, "deleted": deleted}))


COMMAND = Command("select", "show, count or delete the rows that a clause applies to", configure, run)
