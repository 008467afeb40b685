# SPDX-License-Identifier: Apache-2.0
"""One child and the process that runs it, as the supervisor sees it: no decisions, only how it is done."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

from tablemgr import _ffi
from tablemgr.segments import Process
from tablemgr.supervisor import worker
from tablemgr.supervisor.child import Child
from tablemgr.supervisor.events import ChildExited, ChildStarted, ChildStatus, TableHandedBack


class Running:
    """A child, its present process if it has one, and what is kept of it between restarts.

    Deaths are learned from a pidfd, exit codes by `multiprocessing` (waitpid, or its fork server's word). A process
    that was started is always waited for, so none becomes a zombie.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: BaseProcess | None = None
        self.reports: Connection | None = None  # until the child has its tables
        self.has_tables = False
        self.failure: Exception | None = None  # why it could not be started, while that is to be tried again
        self._identity: Process | None = None
        self._pidfd = -1
        self._starts = 0
        self._exit: int | None = None
        self._died_at: float | None = None  # monotonic

    def start(self, context: BaseContext, instance: str) -> ChildStarted:
        """Run the child in a new process, within `held_back`. Raises what multiprocessing does if that cannot be.

        Nothing has changed then.
        """
        receive, send = context.Pipe(duplex=False)
        process = context.Process(  # type: ignore[attr-defined]  # every real context has it
            target=worker.main, args=(self.child, instance, _ffi.self_process(), send), name=self.child.name
        )
        try:
            process.start()
            self.process, self.reports = process, receive
        except BaseException:
            if process.pid is not None:  # it runs, and a handler of the program has raised
                process.kill()
                process.join()
            receive.close()
            raise
        finally:
            send.close()
        self.has_tables = False
        self.failure = None
        self._identity = Process(process.pid, _ffi.process_start(process.pid) or 0, True)
        try:
            with contextlib.suppress(ProcessLookupError):  # dead, and waited for by its fork server or another thread
                self._pidfd = os.pidfd_open(process.pid)
                if process.exitcode is not None:  # the same, and somebody may have the pid: its sentinel is as good
                    os.close(self._pidfd)
                    self._pidfd = -1
        except BaseException:  # no descriptor: without one nobody could stop it
            process.kill()
            process.join()
            self.close_reports()
            self.process = self._identity = None
            raise
        self._starts += 1
        return ChildStarted(self.child.name, self._identity, time.time(), self._starts - 1)

    @property
    def identity(self) -> Process | None:
        """The process that runs it; None if none does."""
        return self._identity

    @property
    def exit_fd(self) -> int:
        """Becomes readable when the process has ended."""
        assert self.process is not None
        return self._pidfd if self._pidfd >= 0 else self.process.sentinel

    @property
    def status(self) -> ChildStatus:
        """What `which_children` tells of it."""
        return ChildStatus(self.child.name, self._identity, self._starts, self._exit)

    def read_report(self) -> TableHandedBack | None:
        """What the child has to say, which must be there; None if it says no more: it has its tables, or is dead."""
        assert self.reports is not None
        try:
            report = self.reports.recv()
        except (EOFError, OSError):
            return None
        if report is None:
            self.has_tables = True
            return None
        latency = None if self._died_at is None else report.clock - self._died_at
        return TableHandedBack(self.child.name, report.table, report.transfer, report.when, latency)

    def last_reports(self) -> Iterator[TableHandedBack]:
        """What the process had to say before it ended."""
        while self.reports is not None and self.reports.poll() and (report := self.read_report()) is not None:
            yield report

    def close_reports(self) -> None:
        """It has no more to say, or nobody listens."""
        if self.reports is not None:
            self.reports.close()
            self.reports = None

    def reap(self) -> ChildExited:
        """The process has ended: collect its exit code, and keep nothing of it."""
        assert self.process is not None
        assert self._identity is not None
        self._died_at = time.monotonic()
        self.close_reports()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self.process.join()
        self._exit = self.process.exitcode
        with contextlib.suppress(ValueError):  # somebody else in this process has waited for it
            self.process.close()
        gone = Process(self._identity.pid, self._identity.start, False)
        self.process = self._identity = None
        return ChildExited(self.child.name, gone, self._exit, time.time())

    def end(self) -> None:
        """SIGTERM, patience, SIGKILL; returns when the process has ended."""
        patience = self.child.patience
        if patience != 0:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped process ends in order, too
            if self._ends_within(patience):
                return
        self._signal(signal.SIGKILL)
        self._ends_within(None)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _ends_within(self, seconds: float | None) -> bool:
        return bool(multiprocessing.connection.wait([self.exit_fd], seconds))


@contextlib.contextmanager
def held_back(method: str | None) -> Iterator[None]:
    """Block the signals whose handlers must not run in a child that is forked here, or that is not ready for them.

    Nor may the program's own handlers raise here before a process that was just started is known.

    Not around a fork server, which hands its own mask down to all of its processes for ever.
    """
    if method == "forkserver":
        multiprocessing.forkserver.ensure_running()
        yield
        return
    if method == "spawn":
        multiprocessing.resource_tracker.ensure_running()  # whose start unblocks these signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, worker.HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
