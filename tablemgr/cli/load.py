# SPDX-License-Identifier: Apache-2.0
"""`tablemgr load`: a table from a file."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import BinaryIO

from tablemgr import files, segments
from tablemgr.cli import formats
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command
from tablemgr.cli.exits import NotFoundError, UsageError
from tablemgr.cli.progress import rows_bar
from tablemgr.file_format import Progress, Source
from tablemgr.table import Table


def configure(parser: argparse.ArgumentParser) -> None:
    """`load FILE|- [--format F] [--name N] [--access A] [--type T] [--keypos K] [--partial]`."""
    parser.add_argument("file", help="what `dump` or tm.save wrote, or other JSON lines or CSV; -: standard input")
    parser.add_argument(
        "--format", choices=formats.NAMES, help="default: by the file's ending, .jsonl or .csv, else native"
    )
    parser.add_argument("--name", help="of the new table (default: the saved one's; CSV has none)")
    parser.add_argument("--access", choices=segments.ACCESSES, help="of the new table (default: the saved one's)")
    parser.add_argument("--type", choices=segments.TYPES, help="jsonl, csv: of the new table")
    parser.add_argument("--keypos", type=int, help="jsonl, csv: the position of the key in every row, from 0")
    parser.add_argument("--partial", action="store_true", help="of a damaged file take the rows before the damage")


def run(args: argparse.Namespace) -> Answer:
    """Make a table; it outlives this command, as an orphan whose heir is the manager. All of it, or no table."""
    kind = formats.named(args.format, args.file)
    if kind == formats.NATIVE and (args.type is not None or args.keypos is not None):
        raise UsageError("a native file has type and keypos of its table; they cannot be others")
    with _source(args.file) as file, rows_bar(f"loading {args.file}") as progress:
        table, damage = _load(args, kind, file, progress)
    with table:
        name, rows = table.name, len(table)
        facts = {"table": name, "file": args.file, "format": kind, "rows": rows, "damage": damage or None}
        return Answer(Done(f"{rows} rows of {args.file} loaded into {name}", facts), remark=damage)


def _load(args: argparse.Namespace, kind: str, file: BinaryIO, progress: Progress) -> tuple[Table, str]:
    if kind != formats.NATIVE:
        return formats.read_text(
            file,
            kind,
            formats.Wishes(args.name, args.type, args.access, args.keypos),
            where=args.file,
            partial=args.partial,
            instance=args.instance,
            progress=progress,
        )
    return files.read_table(
        Source(file, args.file),
        name=args.name,
        access=args.access,
        partial=args.partial,
        heir="manager",
        instance=args.instance,
        progress=progress,
    )


def _source(file: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if file == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return open(file, "rb")
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file!r} to load") from None


COMMAND = Command("load", "make a table from a file", configure, run)
