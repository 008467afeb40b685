# SPDX-License-Identifier: Apache-2.0
"""What runs in a child's process: its tables are opened, then its target runs; a thread watches the supervisor."""

from __future__ import annotations

import contextlib
import inspect
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tablemgr import _ffi, segments
from tablemgr.client import Client
from tablemgr.segments import TableTransfer
from tablemgr.supervisor.child import Child
from tablemgr.table import Table

HELD_BACK = (signal.SIGINT, signal.SIGTERM)
"""Blocked from before a child's process exists until it has its own handlers: the parent's must not run in it."""


class Report(NamedTuple):
    """A table is in the child's hand; when: epoch seconds, clock: the same moment on the monotonic clock."""

    table: str
    transfer: TableTransfer | None
    when: float
    clock: float


def main(child: Child, instance: str, supervisor: tuple[int, int], reports: Connection) -> None:
    """Open the child's tables, report each, then None; run the target."""
    signal.set_wakeup_fd(-1)  # a forked child's signals are no business of its parent's event loop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not child.carry_on:
        _watch(supervisor, child.patience)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    kwargs = dict(child.kwargs)
    if child.tables:
        client = Client(instance)
        opened = {}
        for name, options in child.tables.items():
            opened[name] = client.new_table(name, **options)
            _report(reports, Report(name, _transfer(opened[name]), time.time(), time.monotonic()))
        client.close()
        if takes_tables(child.target):
            kwargs["tables"] = opened
    _report(reports, None)
    reports.close()
    child.target(*child.args, **kwargs)


def takes_tables(target: Callable[..., Any]) -> bool:
    """Whether a target can be given the keyword argument `tables`; also where it does not tell.

    A function around another takes it if it names it itself, or passes on what the other one takes.
    """
    try:
        own, whole = inspect.signature(target, follow_wrapped=False), inspect.signature(target)
    except (TypeError, ValueError):
        return True
    return _names_tables(own) or (_has_any_keyword(own) and (_names_tables(whole) or _has_any_keyword(whole)))


def _names_tables(signature: inspect.Signature) -> bool:
    tables = signature.parameters.get("tables")
    return tables is not None and tables.kind in (tables.POSITIONAL_OR_KEYWORD, tables.KEYWORD_ONLY)


def _has_any_keyword(signature: inspect.Signature) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())


def _transfer(table: Table) -> TableTransfer | None:
    """How the table came, for the supervisor: without what came with it where that cannot be unpickled."""
    try:
        return table.transfer
    except Exception:
        assert table._came is not None
        return segments.transfer(table._came._replace(transfer_data=b""))


def _report(reports: Connection, report: Report | None) -> None:
    with contextlib.suppress(BrokenPipeError):  # a dead supervisor is the business of the watch
        reports.send(report)


def _watch(supervisor: tuple[int, int], patience: float | None) -> None:
    """Have a thread see to it that this process does not outlive its supervisor.

    It blocks all signals: one that the kernel gave to it instead of to the main thread would not end a wait there, and
    Python runs handlers in the main thread only.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        threading.Thread(
            target=_end_with, args=(supervisor, patience), name="tablemgr supervisor watch", daemon=True
        ).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(supervisor: tuple[int, int], patience: float | None) -> None:
    """End this process when the supervisor is dead: nobody is left to stop it.

    The pidfd comes first and the start time after it: a pid that was taken by another process in between shows.
    """
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(supervisor[0])
        if _ffi.process_alive(*supervisor):
            waiter = select.poll()
            waiter.register(pidfd, select.POLLIN)
            waiter.poll()
    if patience != 0:
        os.kill(os.getpid(), signal.SIGTERM)
        if patience is None:
            return
        time.sleep(patience)
    os.kill(os.getpid(), signal.SIGKILL)
