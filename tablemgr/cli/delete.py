# SPDX-License-Identifier: Apache-2.0
"""`tablemgr delete`: remove the rows of some keys."""

from __future__ import annotations

import argparse

from tablemgr.cli import literals
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command
from tablemgr.cli.exits import ExitStatus
from tablemgr.cli.opening import attach


def configure(parser: argparse.ArgumentParser) -> None:
    """`delete TABLE KEY...`."""
    parser.add_argument("table", help="name of the table")
    parser.add_argument("key", nargs="+", help="keys: Python literals, else strings")


def run(args: argparse.Namespace) -> Answer:
    """Delete the keys one by one; ends with code 3 if a key had no row, after deleting the others."""
    keys = [literals.parse(key) for key in args.key]
    with attach(args.table, args.instance, readonly=False) as table:
        deleted = [table.delete(key) for key in keys]
    missing = [key for key, rows in zip(keys, deleted, strict=True) if not rows]
    removed = sum(deleted)
    answer = Done(
        f"{removed} {'row' if removed == 1 else 'rows'} deleted from {args.table}",
        {"table": args.table, "deleted": removed, "missing": missing},
    )
    if missing:
        return Answer(answer, ExitStatus.NOT_FOUND, f"no row has the key {', '.join(map(repr, missing))}")
    return Answer(answer)


COMMAND = Command("delete", "delete the rows of some keys", configure, run)
