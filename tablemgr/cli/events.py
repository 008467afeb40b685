# SPDX-License-Identifier: Apache-2.0
"""`tablemgr events`: what happens in an instance, a line each."""

from __future__ import annotations

import argparse
import select
import sys

from tablemgr import segment_names
from tablemgr.cli import watching
from tablemgr.cli.answers import Answer, Events
from tablemgr.cli.command import Command
from tablemgr.cli.exits import UsageError

INTERVAL = 1.0
INTERVAL_MAX = 86_400.0


def configure(parser: argparse.ArgumentParser) -> None:
    """`events [--follow] [--interval SECONDS]`."""
    parser.add_argument("--follow", action="store_true", help="go on with what happens, until interrupted")
    parser.add_argument(
        "--interval",
        type=float,
        metavar="SECONDS",
        help=f"between two looks, with --follow (default {INTERVAL:g})",
    )


def run(args: argparse.Namespace) -> Answer:
    """What the segments remember, and with --follow what happens from then on; needs no manager and starts none."""
    instance = segment_names.resolve_instance(args.instance)
    if args.interval is not None and not args.follow:
        raise UsageError("--interval goes with --follow: without, there is one look")
    interval = INTERVAL if args.interval is None else args.interval
    if not 0 < interval <= INTERVAL_MAX:
        raise UsageError(f"--interval must be a number of seconds above 0, at most {INTERVAL_MAX:.0f}")
    if not args.follow:
        return Answer(Events(watching.past(instance)))
    return Answer(Events(watching.follow(instance, lambda: _pause(interval))))


def _pause(seconds: float) -> None:
    """Let time go by; BrokenPipeError as soon as nobody reads what is written, though there be nothing to write."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if output.poll(max(1, round(seconds * 1000))):
        raise BrokenPipeError


COMMAND = Command("events", "tell what happens to the tables: owners, deaths, repairs, the manager", configure, run)
