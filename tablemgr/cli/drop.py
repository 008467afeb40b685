# SPDX-License-Identifier: Apache-2.0
"""`tablemgr drop`: remove tables."""

from __future__ import annotations

import argparse

from tablemgr import segment_names, segments
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command
from tablemgr.cli.exits import ExitStatus, UsageError, message_of, no_table, status_of
from tablemgr.cli.words import is_foreign
from tablemgr.errors import TableError, TableOwnedError


def configure(parser: argparse.ArgumentParser) -> None:
    """`drop NAME... | --orphans | --all [--force]`."""
    parser.add_argument("table", nargs="*", help="tables to remove")
    parser.add_argument(
        "--orphans",
        action="store_true",
        help="all tables whose owner is dead, also those that the manager keeps for a successor",
    )
    parser.add_argument("--all", action="store_true", help="all tables of the instance")
    parser.epilog = "Without --force, --orphans and --all mean the tables of the user who runs this."
    parser.add_argument(
        "--force", action="store_true", help="also damaged tables, and tables of live owners that are not public"
    )


def run(args: argparse.Namespace) -> Answer:
    """Remove what was asked for, as far as possible: one refusal does not keep the others from being removed."""
    if [bool(args.table), args.orphans, args.all].count(True) != 1:
        raise UsageError("drop takes names of tables, or --orphans, or --all")
    instance = segment_names.resolve_instance(args.instance)
    force = args.force
    foreign = 0
    if args.table:
        names = list(dict.fromkeys(args.table))
    else:
        found = [info for info in segments.tables(instance) if args.all or info.orphan or info.kept]
        names = [info.name for info in found if force or not is_foreign(info)]
        foreign = len(found) - len(names)
    dropped, refused = [], []
    statuses = set()
    can_be_forced = False
    for name in names:
        try:
            if args.orphans:
                segments.drop_orphan(name, instance)
            else:
                segments.drop(name, force=force, instance=instance)
            dropped.append(name)
        except TableOwnedError:
            continue  # it was claimed just now: an orphan no longer
        except (TableError, OSError, ValueError) as error:
            status = status_of(error)
            if status is ExitStatus.NOT_FOUND and not args.table:
                continue  # somebody else removed it first
            statuses.add(status)
            is_ours = isinstance(error, (TableError, ValueError))  # what the system says names no table
            told = no_table(name, instance) if status is ExitStatus.NOT_FOUND else error
            refused.append(message_of(told) if is_ours else f"{name!r}: {message_of(error)}")
            can_be_forced |= isinstance(error, TableError) and status is not ExitStatus.NOT_FOUND
    done = Done(f"{len(dropped)} of {len(names)} tables dropped", {"dropped": dropped, "refused": refused})
    forcing = "drop NAME --force" if args.orphans else "--force"
    hint = [f"{forcing} removes what is refused here"] if can_be_forced and not force else []
    status = ExitStatus.OK if not statuses else statuses.pop() if len(statuses) == 1 else ExitStatus.ERROR
    left = [f"{foreign} of other users left alone"] if foreign else []
    return Answer(done, status, "; ".join(refused + hint + left))


COMMAND = Command("drop", "remove tables", configure, run)
