# SPDX-License-Identifier: Apache-2.0
"""`tablemgr bench`: the benchmarks of the source tree."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import tablemgr
from tablemgr.cli.answers import Answer, Nothing
from tablemgr.cli.command import Command
from tablemgr.cli.exits import ExitStatus, NotFoundError


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m benchmarks`."""
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="small tables and short rounds: does it run, not how fast")
    extent.add_argument("--full", action="store_true", help="the questions on stores with 1,000,000 rows besides")
    parser.add_argument(
        "--only", action="append", default=[], metavar="QUESTION", help="this question; may be repeated"
    )
    parser.add_argument("--store", action="append", default=[], help="this store; may be repeated")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every measurement (default 5)")
    parser.add_argument("--rows", type=int, metavar="N", help="rows of the small tables (default 100,000)")
    parser.add_argument("--large-rows", type=int, metavar="N", help="rows of the large tables (default 1,000,000)")
    parser.add_argument("--seconds", type=float, metavar="S", help="seconds of every measurement (default 0.2)")
    parser.add_argument("--no-save", action="store_true", help="print only, store nothing in benchmarks/results")


def run(args: argparse.Namespace) -> Answer:
    """Run `python -m benchmarks` beside the package; they are not installed with it."""
    root = Path(tablemgr.__file__).resolve().parent.parent
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise NotFoundError(
            "the benchmarks are in the source tree, not in the installed package: run `make bench` there"
        )
    command = [sys.executable, "-m", "benchmarks"]
    command += [f"--{name}" for name in ("quick", "full") if getattr(args, name)]
    command += [f"--only={question}" for question in args.only]
    command += [f"--store={store}" for store in args.store]
    for name in ("rounds", "rows", "large_rows", "seconds"):
        value = getattr(args, name)
        command += [] if value is None else [f"--{name.replace('_', '-')}={value}"]
    command += ["--no-save"] if args.no_save else []
    ended = subprocess.run(command, cwd=root, check=False)
    known = (ExitStatus.OK, ExitStatus.USAGE)  # of a question or a number that makes no sense it has said why
    return Answer(Nothing(), ExitStatus(ended.returncode) if ended.returncode in known else ExitStatus.ERROR)


COMMAND = Command("bench", "run the benchmarks of the source tree", configure, run)
