# SPDX-License-Identifier: Apache-2.0
"""`tablemgr serve`: be the manager of the instance."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from tablemgr.cli.answers import Answer, Nothing
from tablemgr.cli.command import Command
from tablemgr.cli.exits import RefusedError, UsageError
from tablemgr.manager.limits import Limits, raise_descriptor_limit
from tablemgr.manager.logs import FORMATS, LEVELS, Log

if TYPE_CHECKING:
    from tablemgr.manager.metrics import Address
    from tablemgr.manager.saving import Saving

_SAVE_SECONDS = 60.0
_LIMITS = {
    "clients": "connections in all",
    "process-clients": "connections of one process",
    "message-bytes": "bytes of one request",
    "queue-bytes": "bytes of answers that a client has not read, before it is cut off",
    "requests-per-second": "requests of one process in a second; 0: any number",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """`serve [--quiet] [--replace] [--systemd] [--log-...] [--max-...] [--metrics ADDRESS] [--save ...]`."""
    parser.add_argument("--quiet", action="store_true", help="say nothing when the manager is up")
    parser.add_argument(
        "--replace", action="store_true", help="end the instance's present manager first, one started on demand, say"
    )
    parser.add_argument(
        "--systemd",
        action="store_true",
        help="tell the init system about readiness, reload, end and health (sd_notify); take a socket from it, if any",
    )
    log = parser.add_argument_group("log", "one line per event")
    log.add_argument("--log-file", metavar="PATH", help="default: standard error; SIGHUP opens the file anew")
    log.add_argument("--log-format", choices=FORMATS, default="text", help="text: key=value (the default)")
    log.add_argument("--log-level", choices=LEVELS, default="info", help="info is the default")
    limits = parser.add_argument_group("limits", "who meets one is refused and told which")
    for name, text in _LIMITS.items():
        default = getattr(Limits(), name.replace("-", "_"))
        limits.add_argument(f"--max-{name}", type=int, metavar="N", default=default, help=f"{text} (default {default})")
    parser.add_argument(
        "--metrics",
        metavar="ADDRESS",
        help="serve Prometheus metrics over HTTP: PORT or HOST:PORT on this machine, or unix:/PATH",
    )
    saving = parser.add_argument_group("tables in files", "loaded at the start, saved now and then and at the end")
    saving.add_argument(
        "--save",
        metavar="NAME[=PATH[:SECONDS]]",
        action="append",
        default=[],
        help="keep this table in this file; without PATH: the tables whose names fit a pattern like 'jobs*', in the "
        "directory of --save-dir",
    )
    saving.add_argument("--save-dir", metavar="DIR", help="keep tables here, in NAME.table; all, or those of --save")
    saving.add_argument(
        "--save-every",
        type=float,
        metavar="SECONDS",
        default=_SAVE_SECONDS,
        help=f"how often, where --save does not say it (default {_SAVE_SECONDS:g})",
    )


def run(args: argparse.Namespace) -> Answer:
    """Serve in the foreground until SIGTERM, SIGINT or `tablemgr stop`; `ManagerRunningError` if there is a manager."""
    # Imported by the one command that needs them: no other should pay for them at its start.
    from tablemgr.manager.service import Options, Service
    from tablemgr.manager.systemd import Notifier, passed_socket

    limits = _limits(args)
    metrics = _metrics(args.metrics)
    saving = _saving(args)
    as_json = args.json or args.log_format == "json"
    log = _log(args, as_json)
    hangup_reopens = bool(args.systemd or args.log_file)
    if hangup_reopens:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reopen the log for
    raise_descriptor_limit()
    listener = passed_socket() if args.systemd else None
    notifier = Notifier() if args.systemd else Notifier({})
    service = Service(args.instance, Options(limits, metrics, saving, listener, hangup_reopens), log, notifier)

    def say() -> None:
        if not (args.quiet or args.systemd or (as_json and args.log_file is None)):
            print(f"tablemgr: serving instance {service.instance!r}, pid {os.getpid()}", file=sys.stderr, flush=True)

    with log.receiving():
        if args.replace:
            service.run_in_place_of_another(say)
        else:
            service.run(say, exiting=True)
    return Answer(Nothing())


def _log(args: argparse.Namespace, as_json: bool) -> Log:
    try:
        return Log(args.log_file, as_json=as_json, level=args.log_level)
    except OSError as error:
        raise RefusedError(f"--log-file {args.log_file!r}: {error.strerror}") from None


def _limits(args: argparse.Namespace) -> Limits:
    names = {name.replace("-", "_") for name in _LIMITS}
    try:
        return Limits(**{name: getattr(args, f"max_{name}") for name in names})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _metrics(text: str | None) -> Address | None:
    if text is None:
        return None
    from tablemgr.manager.metrics import Address, MissingError, check_installed

    try:
        address = Address.parse(text)
        check_installed()
    except ValueError as error:
        raise UsageError(f"--metrics: {error}") from None
    except MissingError as error:
        raise RefusedError(str(error)) from None
    return address


def _saving(args: argparse.Namespace) -> Saving:
    from tablemgr.manager.saving import Item, Saving

    if not args.save_every > 0:
        raise UsageError("--save-every must be a number of seconds over 0")
    items, patterns = [], []
    for text in args.save:
        name, equals, where = text.partition("=")
        if not equals:
            patterns.append(name)
            continue
        path, colon, seconds = where.rpartition(":")
        every = _seconds(seconds) if colon else None
        if every is None:
            path, every = where, args.save_every
        if not name or not path:
            raise UsageError(f"--save takes NAME=PATH[:SECONDS] or a pattern of names, not {text!r}")
        items.append(Item(name, os.path.abspath(path), every))
    if patterns and args.save_dir is None:
        raise UsageError(f"--save {patterns[0]!r} names no file: --save NAME=PATH, or --save-dir DIR as well")
    if args.save_dir is not None and not os.path.isdir(args.save_dir):
        raise UsageError(f"--save-dir {args.save_dir!r} is no directory: make it first")
    if len({item.path for item in items}) < len(items) or len({item.name for item in items}) < len(items):
        raise UsageError("--save has two files for one table, or two tables for one file")
    directory = None if args.save_dir is None else os.path.abspath(args.save_dir)
    return Saving(tuple(items), directory, tuple(patterns) or ("*",), args.save_every)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    if not 0 < seconds < 1e9:
        raise UsageError(f"a table is saved every so many seconds, more than 0: not {text!r}")
    return seconds


COMMAND = Command("serve", "be the manager of the instance, in the foreground", configure, run)
