# SPDX-License-Identifier: Apache-2.0
"""`tablemgr top`: what goes on in the tables of an instance, live."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys

from tablemgr import segment_names
from tablemgr.cli import watching
from tablemgr.cli.answers import Answer, Nothing
from tablemgr.cli.command import Command
from tablemgr.cli.exits import RefusedError, UsageError
from tablemgr.cli.frames import COLUMNS, Choice, Shown
from tablemgr.cli.row_pages import RowPages

INTERVAL = 2.0
INTERVAL_ONCE = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """`top [--once] [--interval SECONDS] [--sort COLUMN] [--reverse] [--filter NAME]`."""
    parser.add_argument("--once", action="store_true", help="print one frame and end; with --json for programs")
    parser.add_argument(
        "--interval",
        type=float,
        metavar="SECONDS",
        help=f"time between two looks (default {INTERVAL:g}; with --once {INTERVAL_ONCE:g}, 0: one look and no rates)",
    )
    parser.add_argument(
        "--sort", choices=list(COLUMNS), default="name", metavar="COLUMN", help=f"one of {', '.join(COLUMNS)}"
    )
    parser.add_argument("--reverse", action="store_true", help="sort the other way round")
    parser.add_argument(
        "--filter", default="", metavar="NAME", help="only tables whose name contains this, or matches it: 'job*'"
    )


def run(args: argparse.Namespace) -> Answer:
    """One frame, or the live view until it is left; needs no manager, and the view needs Textual."""
    instance = segment_names.resolve_instance(args.instance)
    choice = Choice(args.sort, args.reverse, args.filter)
    interval = args.interval if args.interval is not None else (INTERVAL_ONCE if args.once else INTERVAL)
    if not math.isfinite(interval) or interval < 0 or interval > 86_400:
        raise UsageError("--interval must be a number of seconds from 0 to 86400")
    if args.once:
        return Answer(Shown(watching.frame_after(instance, interval), choice))
    if args.json:
        raise UsageError("--json goes with --once: the live view is for people")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the live view needs a terminal; --once prints one frame anywhere")
    if importlib.util.find_spec("textual") is None:
        raise RefusedError("the live view needs Textual: pip install 'tablemgr[top]'; --once does without")
    from tablemgr.cli.top_view import TopApp

    def pager(table: str, pattern: str) -> RowPages:
        return RowPages(table, instance, pattern)

    TopApp(watching.Watcher(instance).frame, pager, choice, interval).run()
    return Answer(Nothing())


COMMAND = Command("top", "watch the tables: rows, growth, changes, owners, what happens", configure, run)
