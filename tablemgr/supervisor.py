# SPDX-License-Identifier: Apache-2.0
"""Running worker processes and bringing back those that die, with their tables in hand.

A `Supervisor` has no thread: whoever iterates over `events()` (or calls `run()`) drives it. That keeps every fork in
the caller's own thread and makes what happens next visible as an event. Deaths are learned from pidfds, exit codes from
waitpid; a child that was started is always waited for, so none becomes a zombie.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import select
import selectors
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Literal, TypeAlias

from tablemgr import _ffi, segments
from tablemgr.client import Client
from tablemgr.errors import TableError
from tablemgr.segments import Process, TableTransfer

KILL_SECONDS = 10.0  # how long a SIGKILLed child may take to end before we say so


class TooManyRestartsError(TableError, RuntimeError):
    """A supervisor's children died more often than it may restart them; it has stopped them all."""


@dataclass(frozen=True)
class Child:
    """A worker: what to run, when to run it again, and the tables that it owns.

    name: for people and events, unique in its supervisor. target, args, kwargs: as for `multiprocessing.Process`.
    restart: "permanent" (always run again), "transient" (unless its exit code was 0), "temporary" (never).
    shutdown: seconds between SIGTERM and SIGKILL when it is stopped; 0: SIGKILL at once.
    tables: options of `new_table` by table name; opened in the child before target runs, each start anew, and given to
    target as keyword argument `tables`, a dict of Table by name (no such argument if there are none).

    In the child SIGINT is ignored, because a Ctrl-C at the terminal reaches the supervisor too, which ends its children
    in order; SIGTERM ends the process unless target arranges otherwise. If the supervisor dies, however that happens,
    the child gets SIGTERM, and SIGKILL after `shutdown` seconds.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    shutdown: float = 5.0
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError("a child needs a name")
        if not callable(self.target):
            raise TypeError(f"child {self.name!r}: target must be callable, not {type(self.target).__name__}")
        if self.restart not in ("permanent", "transient", "temporary"):
            raise ValueError(f"child {self.name!r}: restart is permanent, transient or temporary, not {self.restart!r}")
        if not self.shutdown >= 0:
            raise ValueError(f"child {self.name!r}: shutdown must not be negative, this is {self.shutdown}")


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A child runs; when: epoch seconds. restarts: how often it was started before."""

    name: str
    process: Process
    when: float
    restarts: int


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child ended. exit: its exit code, negative: the signal that killed it, None: unknown; when: epoch seconds."""

    name: str
    process: Process
    exit: int | None
    when: float


@dataclass(frozen=True, slots=True)
class TableHandedBack:
    """A started child has one of its tables in hand.

    transfer: from whom and why (None: the table is new). latency: seconds from the moment when the end of the child's
    predecessor was noticed until the table was in the successor's hand; None for a first start. when: epoch seconds.
    """

    child: str
    table: str
    transfer: TableTransfer | None
    when: float
    latency: float | None


Event: TypeAlias = ChildStarted | ChildExited | TableHandedBack


@dataclass
class _Running:
    """One child's present process, and what is kept of it between restarts."""

    child: Child
    process: BaseProcess | None = None
    identity: Process | None = None
    pidfd: int = -1
    reports: Connection | None = None
    starts: int = 0
    died_at: float | None = None  # monotonic


class Supervisor:
    """Runs children, and runs those again that die: OTP's supervisor for multiprocessing workers.

    children are started in their order and stopped in the reverse. strategy "one_for_one": a child's death concerns
    that child alone. More than max_restarts restarts within max_seconds: all are stopped and TooManyRestartsError is
    raised. instance: whose tables the children open. context: a multiprocessing context, or the name of a start method.
    on_event is called with every event, before it is returned.

    ::

        with Supervisor([Child("counter", count, tables={"counts": {"access": "public"}})]) as supervisor:
            for event in supervisor.events():
                print(event)

    Guarantee: a child's tables are in its hands before target runs, with every row its predecessor wrote. No child
    outlives `stop`, and none the supervisor's own death by more than its `shutdown` seconds.
    """

    def __init__(
        self,
        children: Sequence[Child],
        strategy: Literal["one_for_one"] = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5,
        *,
        instance: str | None = None,
        context: BaseContext | str | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if strategy != "one_for_one":
            raise ValueError(f"strategy is 'one_for_one', not {strategy!r}")
        if max_restarts < 0 or max_seconds <= 0:
            raise ValueError("max_restarts must not be negative, and max_seconds is more than 0")
        names = [child.name for child in children]
        if len(set(names)) != len(names):
            raise ValueError(f"two children have the same name: {sorted(names)}")
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        self._context = context
        self._instance = segments.resolve_instance(instance)
        self._max_restarts = max_restarts
        self._max_seconds = max_seconds
        self._on_event = on_event
        self._running = {child.name: _Running(child) for child in children}
        self._restarted_at: deque[float] = deque()
        self._events: deque[Event] = deque()
        self._selector: selectors.BaseSelector | None = None
        self._wake_read = self._wake_write = -1
        self._stop_requested = False
        self._failure: TooManyRestartsError | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all children, in order. If one cannot be started, stop those that run and raise the error."""
        if self._selector is not None:
            raise RuntimeError("this Supervisor runs already")
        self._stop_requested = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        _started.add(self)
        try:
            for running in self._running.values():
                self._start(running)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all children, in reverse order: SIGTERM, SIGKILL after `shutdown` seconds; returns when all have ended.

        Does nothing if it does not run. Only for the thread that drives it; see `request_stop`.
        """
        if self._selector is None:
            return
        try:
            for running in reversed(self._running.values()):
                self._stop(running)
        finally:
            _started.discard(self)
            self._selector.close()
            self._selector = None
            wake_read, wake_write, self._wake_read, self._wake_write = self._wake_read, self._wake_write, -1, -1
            os.close(wake_read)
            os.close(wake_write)

    def request_stop(self) -> None:
        """Make `events` and `run` stop the children and return; from any thread or signal handler."""
        self._stop_requested = True
        if self._wake_write >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_write, b"x")

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self) -> None:
        """Start if need be, and supervise until no child is left to run or a stop is requested; then stop.

        Raises TooManyRestartsError.
        """
        if self._selector is None:
            self.start()
        try:
            for _ in self.events():
                pass
        finally:
            self.stop()

    def processes(self) -> dict[str, Process]:
        """The children that run now, by name."""
        return {name: r.identity for name, r in self._running.items() if r.identity is not None}

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """What happens to the children, as it happens; iterating is what makes the supervisor restart them.

        Ends when no child is left to run, when a stop was requested (and carried out), and after `timeout` seconds
        without an event (None: never); it can be called again then. Raises TooManyRestartsError.
        """
        while True:
            while self._events:
                yield self._events.popleft()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._selector is None:
                return
            if self._stop_requested:
                self.stop()
                continue
            if all(running.process is None for running in self._running.values()):
                return
            ready = self._selector.select(timeout)
            if not ready:
                return
            self._attend(ready)

    # -- one turn -----------------------------------------------------------------------------------------------------

    def _attend(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        dead = []
        for key, _ in ready:
            if key.fd == self._wake_read:
                os.read(self._wake_read, 512)
            elif key.data[0] == "report":
                self._read_report(key.data[1])
            else:
                dead.append(key.data[1])
        for running in dead:
            if running.process is None:
                continue  # stopped meanwhile
            code = self._reap(running)
            child = running.child
            if child.restart == "permanent" or (child.restart == "transient" and code != 0):
                self._restart(running)

    def _restart(self, running: _Running) -> None:
        if self._stop_requested:
            return
        now = time.monotonic()
        self._restarted_at.append(now)
        while self._restarted_at and now - self._restarted_at[0] > self._max_seconds:
            self._restarted_at.popleft()
        if len(self._restarted_at) > self._max_restarts:
            self.stop()
            self._failure = TooManyRestartsError(
                f"child {running.child.name!r} died, and that is more than {self._max_restarts} restarts within "
                f"{self._max_seconds:g} seconds: all children were stopped; find out why it dies, or allow more"
            )
        else:
            self._start(running)

    def _start(self, running: _Running) -> None:
        assert self._selector is not None
        receive, send = self._context.Pipe(duplex=False)
        try:
            process = self._context.Process(  # type: ignore[attr-defined]  # every real context has it
                target=_child_main,
                args=(running.child, self._instance, _ffi.self_process(), send),
                name=running.child.name,
            )
            # A signal between the fork and the child's own handlers would run the parent's in the child.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            receive.close()
            raise
        finally:
            send.close()
        start = _ffi.process_start(process.pid)
        running.process = process
        running.reports = receive
        running.identity = Process(process.pid, start or 0, True)
        try:
            running.pidfd = os.pidfd_open(process.pid)
            self._selector.register(running.pidfd, selectors.EVENT_READ, ("exit", running))
        except ProcessLookupError:
            # Dead and waited for already, by its fork server or another thread: the sentinel says so as well.
            self._selector.register(process.sentinel, selectors.EVENT_READ, ("exit", running))
        self._selector.register(receive, selectors.EVENT_READ, ("report", running))
        self._emit(ChildStarted(running.child.name, running.identity, time.time(), running.starts))
        running.starts += 1

    def _read_report(self, running: _Running) -> None:
        """A table is in the child's hand, or the child says no more: it runs its target, or died."""
        if running.reports is None:
            return
        try:
            table, transfer, when, clock = running.reports.recv()
        except (EOFError, OSError):
            self._close_reports(running)
            return
        latency = None if running.died_at is None else clock - running.died_at
        self._emit(TableHandedBack(running.child.name, table, transfer, when, latency))

    def _close_reports(self, running: _Running) -> None:
        if running.reports is not None and self._selector is not None:
            self._selector.unregister(running.reports)
            running.reports.close()
            running.reports = None

    def _reap(self, running: _Running) -> int | None:
        """The process has ended: collect its last reports and its exit code."""
        assert running.process is not None
        assert running.identity is not None
        assert self._selector is not None
        died_at = time.monotonic()
        while running.reports is not None and running.reports.poll():
            self._read_report(running)
        running.died_at = died_at
        self._close_reports(running)
        if running.pidfd >= 0:
            self._selector.unregister(running.pidfd)
            os.close(running.pidfd)
            running.pidfd = -1
        else:
            self._selector.unregister(running.process.sentinel)
        running.process.join()
        code = running.process.exitcode
        identity = running.identity
        with contextlib.suppress(ValueError):  # somebody else in this process has waited for it
            running.process.close()
        running.process = running.identity = None
        self._emit(ChildExited(running.child.name, Process(identity.pid, identity.start, False), code, time.time()))
        return code

    def _stop(self, running: _Running) -> None:
        """SIGTERM, patience, SIGKILL; returns when the process is gone."""
        if running.process is None:
            return
        if running.child.shutdown > 0:
            self._signal(running, signal.SIGTERM)
            if self._ends_within(running, running.child.shutdown):
                self._reap(running)
                return
        self._signal(running, signal.SIGKILL)
        if not self._ends_within(running, KILL_SECONDS):
            raise TimeoutError(f"child {running.child.name!r} did not end {KILL_SECONDS:g} seconds after SIGKILL")
        self._reap(running)

    def _signal(self, running: _Running, number: signal.Signals) -> None:
        if running.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(running.pidfd, number)

    def _ends_within(self, running: _Running, seconds: float) -> bool:
        assert running.process is not None
        descriptor = running.pidfd if running.pidfd >= 0 else running.process.sentinel
        return bool(multiprocessing.connection.wait([descriptor], seconds))

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        if self._on_event is not None:
            self._on_event(event)


_started: weakref.WeakSet[Supervisor] = weakref.WeakSet()


def _stop_all() -> None:
    """At the end of the interpreter: multiprocessing would wait for the children for ever."""
    for supervisor in list(_started):
        supervisor.stop()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_started.clear)


_HELD_BACK = (signal.SIGINT, signal.SIGTERM)


def _child_main(child: Child, instance: str, supervisor: tuple[int, int], reports: Connection) -> None:
    """What runs in the child's process: open its tables, report each, run the target."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
    threading.Thread(
        target=_end_with, args=(supervisor, child.shutdown), name="tablemgr supervisor watch", daemon=True
    ).start()
    kwargs = dict(child.kwargs)
    if child.tables:
        client = Client(instance)
        opened = {}
        for name, options in child.tables.items():
            opened[name] = client.new_table(name, **options)
            reports.send((name, opened[name].transfer, time.time(), time.monotonic()))
        client.close()
        kwargs["tables"] = opened
    reports.close()
    child.target(*child.args, **kwargs)


def _end_with(supervisor: tuple[int, int], seconds: float) -> None:
    """End this process when the supervisor is dead: nobody is left to stop it."""
    try:
        pidfd = os.pidfd_open(supervisor[0])
        if _ffi.process_start(supervisor[0]) in (supervisor[1], None):
            waiter = select.poll()
            waiter.register(pidfd, select.POLLIN)
            waiter.poll()
    except ProcessLookupError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
