# SPDX-License-Identifier: Apache-2.0
"""`tablemgr list`: the tables of an instance."""

from __future__ import annotations

import argparse

from tablemgr import segment_names, segments
from tablemgr.cli.answers import Answer, Tables
from tablemgr.cli.command import Command


def configure(parser: argparse.ArgumentParser) -> None:
    """`list` has no arguments of its own."""
    del parser


def run(args: argparse.Namespace) -> Answer:
    """Describe every table; needs no manager and works on private and damaged tables too."""
    instance = segment_names.resolve_instance(args.instance)
    return Answer(Tables(instance, tuple(segments.tables(instance))))


COMMAND = Command("list", "list the tables of the instance", configure, run)
