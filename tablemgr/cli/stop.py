# SPDX-License-Identifier: Apache-2.0
"""`tablemgr stop`: end the manager of the instance."""

from __future__ import annotations

import argparse

from tablemgr.cli import literals
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command
from tablemgr.cli.exits import NotFoundError
from tablemgr.client import Client


def configure(parser: argparse.ArgumentParser) -> None:
    """`stop [--timeout SECONDS]`."""
    parser.add_argument(
        "--timeout",
        type=literals.seconds,
        default=10.0,
        metavar="SECONDS",
        help="give up after so long (default 10)",
    )


def run(args: argparse.Namespace) -> Answer:
    """Return when the manager has ended; its tables stay. `NotFoundError` if none runs."""
    client = Client(args.instance, autostart=False)
    try:
        manager = client.info().manager
        if manager is None:
            raise NotFoundError(f"instance {client.instance!r} has no manager")
        client.stop_manager(args.timeout)
    finally:
        client.close()
    return Answer(Done(f"manager pid {manager.pid} has ended; its tables stay", {"pid": manager.pid}))


COMMAND = Command("stop", "end the manager of the instance; tables stay", configure, run)
