# SPDX-License-Identifier: Apache-2.0
"""`tablemgr dump`: a table into a file."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import BinaryIO

from tablemgr import files
from tablemgr.cli import formats
from tablemgr.cli.answers import Answer, Done, Nothing
from tablemgr.cli.command import Command
from tablemgr.cli.exits import UsageError
from tablemgr.cli.opening import attach
from tablemgr.cli.progress import rows_bar
from tablemgr.replacing import replacing


def configure(parser: argparse.ArgumentParser) -> None:
    """`dump TABLE FILE|- [--format native|jsonl|csv]`."""
    parser.add_argument("table", help="name of the table")
    parser.add_argument("file", help="the file, which is replaced in one step when all is written; -: standard output")
    parser.add_argument(
        "--format",
        choices=formats.NAMES,
        help="native: as tm.save writes it; jsonl: a row per line, lossless; csv: flat rows only "
        "(default: by the file's ending, .jsonl or .csv, else native)",
    )


def run(args: argparse.Namespace) -> Answer:
    """Write all rows, live; nothing is left of a file that could not be written whole."""
    kind = formats.named(args.format, args.file)
    if kind == formats.NATIVE and args.file == "-" and sys.stdout.isatty():
        raise UsageError("the native format is not for a terminal; --format jsonl or csv is")
    with (
        attach(args.table, args.instance, readonly=True, packed=kind == formats.NATIVE) as table,
        _target(args.file, table.info().mode) as file,
        rows_bar(f"dumping {args.table}") as progress,
    ):
        if kind == formats.NATIVE:
            rows = files.write_table(table, file, progress)
        else:
            rows = formats.write_text(table, file, kind, progress)
    if args.file == "-":
        return Answer(Nothing())
    text = f"{rows} rows of {args.table} dumped to {args.file}"
    return Answer(Done(text, {"table": args.table, "file": args.file, "format": kind, "rows": rows}))


def _target(file: str, mode: int) -> contextlib.AbstractContextManager[BinaryIO]:
    return contextlib.nullcontext(sys.stdout.buffer) if file == "-" else replacing(file, mode)


COMMAND = Command("dump", "write a table to a file", configure, run)
