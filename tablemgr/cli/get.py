# SPDX-License-Identifier: Apache-2.0
"""`tablemgr get`: the rows of a key."""

from __future__ import annotations

import argparse

from tablemgr.cli import literals
from tablemgr.cli.answers import Answer, Rows
from tablemgr.cli.command import Command
from tablemgr.cli.exits import NotFoundError
from tablemgr.cli.opening import attach


def configure(parser: argparse.ArgumentParser) -> None:
    """`get TABLE KEY`."""
    parser.add_argument("table", help="name of the table")
    parser.add_argument("key", help="the key: a Python literal, else a string")


def run(args: argparse.Namespace) -> Answer:
    """Look the key up; `NotFoundError` if no row has it."""
    key = literals.parse(args.key)
    with attach(args.table, args.instance, readonly=True) as table:
        rows = table.lookup(key)
        if not rows:
            raise NotFoundError(f"table {args.table!r} has no row with key {key!r}")
        return Answer(Rows(args.table, table.keypos, rows, total=len(rows)))


COMMAND = Command("get", "show the rows of a key", configure, run)
