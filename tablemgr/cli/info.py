# SPDX-License-Identifier: Apache-2.0
"""`tablemgr info`: everything known of a table, or of the instance."""

from __future__ import annotations

import argparse

from tablemgr import segment_names, segments
from tablemgr.cli import status
from tablemgr.cli.answers import Answer, Detail
from tablemgr.cli.command import Command
from tablemgr.cli.exits import no_table


def configure(parser: argparse.ArgumentParser) -> None:
    """`info [TABLE]`."""
    parser.add_argument("table", nargs="?", help="name of the table (default: describe the instance)")


def run(args: argparse.Namespace) -> Answer:
    """Describe one table, damaged or not, or the instance; needs no manager."""
    if args.table is None:
        return Answer(status.look(args.instance))
    instance = segment_names.resolve_instance(args.instance)
    segment_names.segment_name(instance, args.table)  # a name that cannot be one is told from one that is not there
    for info in segments.tables(instance):
        if info.name == args.table:
            return Answer(Detail(info))
    raise no_table(args.table, instance)


COMMAND = Command("info", "describe a table, or the instance", configure, run)
