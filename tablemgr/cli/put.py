# SPDX-License-Identifier: Apache-2.0
"""`tablemgr put`: insert a row."""

from __future__ import annotations

import argparse

from tablemgr.cli import literals
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command
from tablemgr.cli.opening import attach


def configure(parser: argparse.ArgumentParser) -> None:
    """`put TABLE ELEMENT...`."""
    parser.add_argument("table", help="name of the table, which must exist")
    parser.add_argument(
        "element",
        nargs="+",
        help="the row, element by element: Python literals, else strings; in the table of a SharedDict: key and value",
    )
    parser.add_argument("--new", action="store_true", help="only if no row has the key: otherwise end with code 1")


def run(args: argparse.Namespace) -> Answer:
    """Insert one row as the table's type has it; with `--new` only where no row has its key."""
    row = tuple(literals.parse(element) for element in args.element)
    with attach(args.table, args.instance, readonly=False) as table:
        if not args.new:
            table.insert(row)
        elif not table.insert_new(row):
            raise FileExistsError(f"table {args.table!r} has a row with this key; leave --new out to insert this one")
    return Answer(Done(f"1 row put into {args.table}", {"table": args.table, "row": row}))


COMMAND = Command("put", "insert a row into a table", configure, run)
