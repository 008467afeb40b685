# SPDX-License-Identifier: Apache-2.0
"""`tablemgr status`: does the instance have a manager?"""

from __future__ import annotations

import argparse

from tablemgr import rendezvous
from tablemgr.cli.answers import Answer, Instance
from tablemgr.cli.command import Command
from tablemgr.cli.exits import ExitStatus
from tablemgr.cli.words import is_closed
from tablemgr.client import Client


def configure(parser: argparse.ArgumentParser) -> None:
    """`status` has no arguments of its own."""
    del parser


def run(args: argparse.Namespace) -> Answer:
    """Describe the instance; ends with 3 if no manager runs. Starts none."""
    instance = look(args.instance)
    return Answer(instance, ExitStatus.OK if instance.manager is not None else ExitStatus.NOT_FOUND)


def look(name: str | None) -> Instance:
    """An instance in figures."""
    client = Client(name, autostart=False)
    try:
        info = client.info()
    finally:
        client.close()
    return Instance(
        instance=info.instance,
        manager=info.manager,
        since=info.since,
        socket=f"{rendezvous.directory_path()}/{rendezvous.file_name(info.instance, 'sock')}",
        tables=len(info.tables),
        rows=sum(table.rows for table in info.tables),
        bytes_reserved=sum(table.bytes_reserved for table in info.tables),
        orphans=sum(table.orphan for table in info.tables),
        kept=sum(table.kept and not table.orphan for table in info.tables),
        damaged=sum(table.damaged is not None and not is_closed(table) for table in info.tables),
        waiting=info.waiting,
    )


COMMAND = Command("status", "describe the instance and its manager", configure, run)
