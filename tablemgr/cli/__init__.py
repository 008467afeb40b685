# SPDX-License-Identifier: Apache-2.0
"""The command line: `tablemgr [--instance NAME] [--json] COMMAND`.

A file per command; `COMMANDS` lists them. A command fetches and returns a snapshot, `render` draws it, `main` is the
one place where an exception becomes an exit code and a line on standard error."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import tablemgr
from tablemgr.cli import (
    bench,
    check,
    completion,
    dashes,
    delete,
    demo,
    drop,
    dump,
    events,
    gc,
    get,
    info,
    list as list_command,
    load,
    put,
    render,
    select,
    serve,
    show,
    status,
    stop,
    top,
    wait,
)
from tablemgr.cli.command import Command
from tablemgr.cli.exits import ExitStatus, message_of, status_of
from tablemgr.segment_names import resolve_instance

__all__ = ["COMMANDS", "ExitStatus", "build_parser", "main"]

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    status.COMMAND,
    stop.COMMAND,
    wait.COMMAND,
    list_command.COMMAND,
    info.COMMAND,
    events.COMMAND,
    top.COMMAND,
    show.COMMAND,
    select.COMMAND,
    get.COMMAND,
    put.COMMAND,
    delete.COMMAND,
    drop.COMMAND,
    gc.COMMAND,
    check.COMMAND,
    dump.COMMAND,
    load.COMMAND,
    demo.COMMAND,
    bench.COMMAND,
    completion.COMMAND,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `--instance` and `--json` may stand before or after the command."""
    parser = argparse.ArgumentParser(
        prog="tablemgr",
        description="Tables in shared memory that survive the processes that use them.",
        epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 check failed, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"tablemgr {tablemgr.__version__}")
    common = argparse.ArgumentParser(add_help=False)
    for target, default in ((parser, None), (common, argparse.SUPPRESS)):
        target.add_argument(
            "--instance",
            metavar="NAME",
            type=_instance,
            default=default,
            help="the namespace of tables (default: $TABLEMGR_INSTANCE, else 'default')",
        )
        target.add_argument(
            "--json", action="store_true", default=False if default is None else default, help="output for programs"
        )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.summary, description=command.summary, parents=[common])
        command.configure(sub)
        sub.set_defaults(run=command.run)
    return parser


def _instance(name: str) -> str:
    """A name that an instance can have; wrong usage otherwise."""
    try:
        return resolve_instance(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; None: those of this process.

    Returns:
        an `ExitStatus`. No exception but an exit of the interpreter's own making leaves this function."""
    _prepare_streams()
    try:
        args = dashes.parse(build_parser(), sys.argv[1:] if argv is None else argv)
        answer = args.run(args)
        render.render(answer.snapshot, render.console(), as_json=args.json)
        sys.stdout.flush()
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0) if _written() else ExitStatus.ERROR
    except BrokenPipeError:
        _written()
        return ExitStatus.ERROR
    except (Exception, KeyboardInterrupt) as error:  # the one place where errors end
        result = status_of(error)
        print(f"tablemgr: {'interrupted' if result is ExitStatus.INTERRUPTED else message_of(error)}", file=sys.stderr)
        return result
    if answer.remark:
        print(f"tablemgr: {answer.remark}", file=sys.stderr)
    return int(answer.status)


def _prepare_streams() -> None:
    """Where a standard stream is closed, have an empty one: there is nothing to read, and nobody reads what is said.

    What standard output has no letters for is escaped, as it is on standard error."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - to the end of the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _written() -> bool:
    """Whether standard output could be written; if whoever read it has seen enough, its end must not be told again."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
