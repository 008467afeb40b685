# SPDX-License-Identifier: Apache-2.0
"""`tablemgr check`: walk everything in a table and name each broken invariant."""

from __future__ import annotations

import argparse

from tablemgr import segment_names, segments
from tablemgr.cli.answers import Answer, Checked
from tablemgr.cli.command import Command
from tablemgr.cli.exits import ExitStatus, no_table
from tablemgr.errors import AccessError, CorruptTableError, TableNotFoundError


def configure(parser: argparse.ArgumentParser) -> None:
    """`check [TABLE...]`."""
    parser.add_argument("table", nargs="*", help="tables to check (default: all of the instance)")
    parser.add_argument(
        "--no-repair", action="store_true", help="look only: what a writer would finish on its way is a finding too"
    )


def run(args: argparse.Namespace) -> Answer:
    """First repair what a death has left, where the table may be written; ends with 4 if an invariant is broken.

    A private table of a live owner can be checked by its owner only: named it is an error, otherwise it is left out."""
    instance = segment_names.resolve_instance(args.instance)
    problems: dict[str, list[str]] = {}
    left_out: list[str] = []
    for name in args.table or [name for name, _ in segment_names.scan(instance)]:
        try:
            problems[name] = check(instance, name, repair=not args.no_repair)
        except TableNotFoundError:
            if args.table:  # asked for by name; otherwise it was dropped while we went along
                raise no_table(name, instance) from None
        except AccessError as error:
            if args.table:
                raise
            left_out.append(f"left out: {error}")
    status = ExitStatus.CHECK_FAILED if any(problems.values()) else ExitStatus.OK
    remarks = left_out if problems or left_out else [f"no tables in instance {instance}"]
    return Answer(Checked(problems), status, "; ".join(remarks))


def check(instance: str, name: str, *, repair: bool) -> list[str]:
    """The broken invariants of one table; a segment that is none has one finding, which says so."""
    try:
        handle = segments.attach(instance, name)
    except CorruptTableError as error:
        return [str(error)]
    try:
        may_write = not handle.describe().readonly
        return handle.check(repair and may_write)
    except CorruptTableError as error:
        return [str(error)]
    finally:
        handle.close()


COMMAND = Command("check", "verify that tables are sound", configure, run)
