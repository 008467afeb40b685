# SPDX-License-Identifier: Apache-2.0
"""`tablemgr gc`: remove what is dead, and nothing that somebody may still want."""

from __future__ import annotations

import argparse

from tablemgr import rendezvous, segment_names, segments
from tablemgr.cli.answers import Answer, Text
from tablemgr.cli.command import Command
from tablemgr.cli.words import is_foreign, printable


def configure(parser: argparse.ArgumentParser) -> None:
    """`gc` has no arguments of its own."""
    del parser


def run(args: argparse.Namespace) -> Answer:
    """Remove tables without an heir whose owner is dead, those whose dropper was killed on the way, and the socket and
    lock files of a manager that was killed. Orphans and damaged tables stay, and this user's are counted: `drop` is for
    them."""
    instance = segment_names.resolve_instance(args.instance)
    gone = segments.remove_dead(instance)
    files = rendezvous.remove_leftovers(instance)
    left = [info for info in segments.tables(instance) if not is_foreign(info)]
    orphans = [info.name for info in left if info.orphan]
    damaged = [info.name for info in left if info.damaged is not None]
    lines = [f"table {printable(name)} removed: nobody alive has it" for name in gone]
    lines += [f"{printable(path)} removed: nobody alive uses it" for path in files]
    hints = []
    if orphans:
        hints.append(f"{_many(len(orphans), 'orphan')} may be claimed: `tablemgr drop --orphans` removes them")
    if damaged:
        hints.append(f"{_many(len(damaged), 'damaged table')}: `tablemgr drop NAME --force` removes one")
    facts: dict[str, object] = {"tables": gone, "files": files, "orphans": orphans, "damaged": damaged}
    text = "".join(f"{line}\n" for line in lines or ["nothing was dead"])
    return Answer(Text(text, facts), remark="; ".join(hints))


def _many(n: int, what: str) -> str:
    return f"1 {what}" if n == 1 else f"{n} {what}s"


COMMAND = Command("gc", "remove what the dead have left: tables without an heir, sockets, locks", configure, run)
