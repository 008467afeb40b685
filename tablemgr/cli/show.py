# SPDX-License-Identifier: Apache-2.0
"""`tablemgr show`: the rows of a table."""

from __future__ import annotations

import argparse
import itertools
import sys

from tablemgr.cli.answers import Answer, Rows
from tablemgr.cli.command import Command
from tablemgr.cli.exits import UsageError
from tablemgr.cli.opening import attach

TERMINAL_LIMIT = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """`show TABLE [--limit N]`."""
    parser.add_argument("table", help="name of the table")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"show at most N rows, 0: all (default: {TERMINAL_LIMIT} on a terminal, where they are paged; else all)",
    )


def run(args: argparse.Namespace) -> Answer:
    """The rows in the table's own order, live: rows written meanwhile may or may not be among them."""
    if args.limit is not None and args.limit < 0:
        raise UsageError("--limit must be 0 or more")
    paged = sys.stdout.isatty() and not args.json
    limit = args.limit if args.limit is not None else (TERMINAL_LIMIT if paged else 0)
    table = attach(args.table, args.instance, readonly=True)
    rows = itertools.islice(table, limit or None)
    return Answer(Rows(args.table, table.info().keypos, rows, total=len(table), paged=paged))


COMMAND = Command("show", "show the rows of a table", configure, run)
