# SPDX-License-Identifier: Apache-2.0
"""`tablemgr serve`: be the manager of the instance."""

from __future__ import annotations

import argparse
import os
import sys

from tablemgr.cli.answers import Answer, Nothing
from tablemgr.cli.command import Command
from tablemgr.manager import Manager


def configure(parser: argparse.ArgumentParser) -> None:
    """`serve [--quiet]`."""
    parser.add_argument("--quiet", action="store_true", help="say nothing when the manager is up")


def run(args: argparse.Namespace) -> Answer:
    """Serve in the foreground until SIGTERM or SIGINT; `ManagerRunningError` if the instance has a manager."""
    manager = Manager(args.instance)

    def say() -> None:
        if not args.quiet:
            print(f"tablemgr: serving instance {manager.instance!r}, pid {os.getpid()}", file=sys.stderr, flush=True)

    manager.run(say, exiting=True)
    return Answer(Nothing())


COMMAND = Command("serve", "be the manager of the instance, in the foreground", configure, run)
