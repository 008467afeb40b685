# SPDX-License-Identifier: Apache-2.0
"""`tablemgr completion`: a script that teaches a shell to complete our commands, options and tables."""

from __future__ import annotations

import argparse
import re

from tablemgr import segment_names
from tablemgr.cli.answers import Answer, Text
from tablemgr.cli.command import Command
from tablemgr.cli.exits import RefusedError

SHELLS = ("bash", "zsh", "fish", "tcsh")
_TABLES = "tables"
_COMMAND = f"tablemgr completion {_TABLES}"  # what the scripts run at each TAB where a table is wanted
_UNQUOTED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FILES = ("file", "log_file")
_DIRECTORIES = ("save_dir",)


def configure(parser: argparse.ArgumentParser) -> None:
    """`completion SHELL`."""
    parser.add_argument(
        "shell",
        choices=(*SHELLS, _TABLES),
        help=f"whose script to write to standard output; {_TABLES}: the names that the scripts offer",
    )


def run(args: argparse.Namespace) -> Answer:
    """The script, or the names of tables that a shell takes as they are.

    Bash expands what it is offered, so a table's name with `$(...)` in it would run: such names are never offered.
    """
    if args.shell == _TABLES:
        names = [name for name, _ in segment_names.scan(segment_names.resolve_instance(args.instance))]
        plain = [name for name in names if _UNQUOTED.fullmatch(name)]
        return Answer(Text("".join(f"{name}\n" for name in plain), plain))
    try:
        import shtab
    except ImportError:
        raise RefusedError("completion needs the package shtab: pip install 'tablemgr[completion]'") from None
    from tablemgr import cli

    parser = cli.build_parser()
    for action in _all_actions(parser):
        if action.dest == "table":
            action.complete = shtab.cmd(_COMMAND)  # type: ignore[attr-defined]  # where shtab looks for it
        elif action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # the same
        elif action.dest in _DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # the same
    script = shtab.complete(parser, args.shell)
    return Answer(Text(script, {"shell": args.shell, "script": script}))


def _all_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found += _all_actions(sub)
    return found


COMMAND = Command("completion", "write a script that completes commands and tables in a shell", configure, run)
