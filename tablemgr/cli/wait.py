# SPDX-License-Identifier: Apache-2.0
"""`tablemgr wait`: until the instance has a manager."""

from __future__ import annotations

import argparse

from tablemgr import default_client
from tablemgr.cli import literals
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command


def configure(parser: argparse.ArgumentParser) -> None:
    """`wait [--timeout SECONDS]`."""
    parser.add_argument(
        "--timeout", type=literals.seconds, metavar="SECONDS", help="give up after so long (default: never)"
    )


def run(args: argparse.Namespace) -> Answer:
    """Return when a manager answers; `ManagerUnavailableError` when the time is over."""
    default_client.wait_for_manager(args.timeout, args.instance)
    return Answer(Done("the manager is up", {"manager": "up"}))


COMMAND = Command("wait", "wait until the manager of the instance is up", configure, run)
