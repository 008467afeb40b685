# SPDX-License-Identifier: Apache-2.0
"""`Supervisor`: OTP's strategies, restart intensity and order for `multiprocessing` workers.

It has no thread: whoever iterates over `events()`, or calls `run()`, drives it. That keeps every fork in the caller's
own thread and makes what happens next visible as an event.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import util
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Literal

from tablemgr import segment_names
from tablemgr.segments import Process
from tablemgr.supervisor.child import Child
from tablemgr.supervisor.events import ChildStatus, Event, TooManyRestartsError
from tablemgr.supervisor.family import Family
from tablemgr.supervisor.signals import StopSignals
from tablemgr.supervisor.wakeup import StopRequest


class Supervisor:
    """Runs children, and runs those again that die: OTP's supervisor for multiprocessing workers.

    children are started in their order, each when the one before has its tables in hand (unless that stands in line for
    one), and stopped in the reverse order. When one ends that is to be run again, strategy says which are: with
    "one_for_one" that one; with "one_for_all" all others are stopped and all run again; with "rest_for_one" those
    started after it are. Temporary children that are stopped by this are forgotten. Each time counts as one restart, a
    failed one as well, which is tried again; more than max_restarts of them within max_seconds: all children are
    stopped and TooManyRestartsError is raised.

    instance: whose tables the children open. context: a multiprocessing context, or the name of a start method.
    on_event is called with every event, in order, when what it belongs to is complete.

    ::

        with Supervisor([Child("counter", count, tables={"counts": {"access": "public"}})]) as supervisor:
            for event in supervisor.events():
                print(event)

    Started in the main thread, it takes SIGTERM and SIGINT for as long as it runs, unless the program has handlers of
    its own: all children are stopped in order, and then `events` and `run` end (SIGINT: raise KeyboardInterrupt);
    elsewhere in the program KeyboardInterrupt or SystemExit is raised at once, and the `with` block stops the children.

    A Supervisor can be the target of a Child of another, and pickles as long as it does not run. `request_stop`, `stop`
    and what only looks may be called by any thread, all else is for the one that drives it.

    Guarantee: a child's tables are in its hands before target runs, with every row its predecessor wrote. No child
    outlives `stop` or the end of the interpreter, and none the supervisor's own death by more than its `shutdown`
    seconds, unless it is told to carry on. No child is left a zombie.
    """

    def __init__(
        self,
        children: Sequence[Child],
        strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5,
        *,
        instance: str | None = None,
        context: BaseContext | str | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if strategy not in ("one_for_one", "one_for_all", "rest_for_one"):
            raise ValueError(f"strategy is 'one_for_one', 'one_for_all' or 'rest_for_one', not {strategy!r}")
        _check_limits(max_restarts, max_seconds)
        if not isinstance(children, Iterable):
            raise TypeError(f"children must be a list of Child objects, not {type(children).__name__}")
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        self._on_event = on_event
        self._untold: deque[Event] = deque()  # on_event has not been called with these
        self._events: deque[Event] = deque()
        self._failure: TooManyRestartsError | None = None
        self._stop_request = StopRequest()
        self._signals = StopSignals(self._stop_request.make)
        self._lock = threading.RLock()  # of whoever changes anything, or waits for what happens
        self._at_exit: util.Finalize | None = None
        self._pid = -1  # whose children they are
        self._family = Family(
            strategy,
            max_restarts,
            max_seconds,
            context,
            segment_names.resolve_instance(instance),
            self._stop_request,
            self._untold.append,
        )
        for child in children:
            self._family.add(_checked(child))

    def __reduce__(self) -> tuple[Any, ...]:
        family = self._family
        if family.is_open:
            raise TypeError("a Supervisor that runs cannot be pickled: its processes belong to this one")
        children = [running.child for running in family.members.values()]
        make = functools.partial(Supervisor, instance=family.instance, context=family.context, on_event=self._on_event)
        return make, (children, family.strategy, family.max_restarts, family.max_seconds)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all children, in order. If one cannot be started, or on_event raises, stop those that run and raise it.

        A child that ends before it has its tables was started: its end is attended to like any other.
        """
        with self._turn():
            if self._family.is_open:
                raise RuntimeError("this Supervisor runs already")
            self._failure, self._pid = None, os.getpid()
            self._stop_request.open()
            # multiprocessing would wait for the children for ever at the end of this process, main or forked.
            self._at_exit = util.Finalize(None, self.stop, exitpriority=100)
            self._signals.install()
            try:
                self._family.open()
                self._tell()
            except BaseException:  # on_event's too: the caller has no block whose end would stop them
                self._close()
                raise
            if self._signals.arrived:
                self._close()

    def stop(self) -> None:
        """Stop all children, in reverse order: SIGTERM, SIGKILL after `shutdown` seconds; returns when all have ended.

        Does nothing if it does not run. From any thread: `events` and `run` return in the one that drives it.
        """
        if not self._family.is_open or os.getpid() != self._pid:
            return  # a forked process may leave the with block, too
        self.request_stop()  # whoever waits for events in another thread lets go
        with self._turn():
            self._close()

    def request_stop(self) -> None:
        """Make `events` and `run` stop the children and return; from any thread or signal handler."""
        self._stop_request.make()

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self._raise_failure()

    def run(self) -> None:
        """Start if need be, and supervise until no child is left to run or a stop is requested; then stop.

        Raises TooManyRestartsError.
        """
        if not self._family.is_open:
            self.start()
        try:
            for _ in self.events():
                pass
        finally:
            self.stop()

    def __call__(self) -> None:
        """As target of a child: `run`."""
        self.run()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """What happens to the children, as it happens; iterating is what makes the supervisor restart them.

        Ends when no child is left to run, when a stop was requested (and carried out), and after `timeout` seconds
        without an event (None: never); it can be called again then. Raises TooManyRestartsError.
        """
        while (event := self._next(timeout)) is not None:
            yield event
        # The end of the iteration is what SIGTERM does here, if it is why the children were stopped.
        self._signals.deliver(but=None if self._family.is_open else signal.SIGTERM)

    # -- children -----------------------------------------------------------------------------------------------------

    def processes(self) -> dict[str, Process]:
        """The children that run now, by name."""
        return {status.name: status.process for status in self.which_children() if status.process is not None}

    def which_children(self) -> list[ChildStatus]:
        """All children in the order of their start, those that do not run as well."""
        return [running.status for running in list(self._family.members.values())]

    def count_children(self) -> dict[str, int]:
        """How many: "specs": all, "active": those that run, "supervisors" and "workers": by what their target is."""
        running = list(self._family.members.values())
        supervisors = sum(isinstance(r.child.target, Supervisor) for r in running)
        active = sum(r.process is not None for r in running)
        return {
            "specs": len(running),
            "active": active,
            "supervisors": supervisors,
            "workers": len(running) - supervisors,
        }

    def start_child(self, child: Child) -> Process:
        """Add a child, the last in order, and start it. If it cannot be started, it is not added and the error raised.

        Returns its process. Raises ValueError if there is a child of this name.
        """
        with self._turn(needs_start=True):
            running = self._family.add(_checked(child))
            try:
                self._family.start(running)
            except BaseException:
                if running.process is None:
                    del self._family.members[child.name]
                raise
            assert running.identity is not None
            return running.identity

    def terminate_child(self, name: str) -> None:
        """Stop a child, and keep it for `restart_child`, unless it is temporary. Does nothing if it does not run.

        A restart of others that the strategy extends to this child starts it again. Raises LookupError for an unknown
        name.
        """
        with self._turn(needs_start=True):
            self._family.stop(self._family.find(name))

    def restart_child(self, name: str) -> Process:
        """Start a child that does not run; this counts as no restart. Returns its process.

        Raises LookupError for an unknown name, RuntimeError if it runs or is about to.
        """
        with self._turn(needs_start=True):
            running = self._family.find(name, idle=True)
            self._family.start(running)
            assert running.identity is not None
            return running.identity

    def delete_child(self, name: str) -> None:
        """Forget a child that does not run.

        Raises LookupError for an unknown name, RuntimeError if it runs or is about to.
        """
        with self._turn(needs_start=True):
            self._family.find(name, idle=True)
            del self._family.members[name]

    # -- one turn -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _turn(self, *, needs_start: bool = False) -> Iterator[None]:
        """Something is done to the children: one thread at a time, signals wait, the events are told afterwards."""
        if not self._lock.acquire(blocking=not needs_start):
            raise RuntimeError("this is for the thread that drives the Supervisor, which another one does")
        try:
            if needs_start and not self._family.is_open:
                raise RuntimeError("this Supervisor does not run: start() it first")
            with self._signals.shelter():
                try:
                    yield
                finally:
                    self._tell()
        finally:
            self._lock.release()
        self._signals.deliver()

    def _tell(self) -> None:
        while self._untold:
            event = self._untold.popleft()
            self._events.append(event)
            if self._on_event is not None:
                self._on_event(event)

    def _next(self, timeout: float | None) -> Event | None:
        """The next event, or None when `events` ends."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock, self._signals.shelter():
            while not self._events:
                if not self._family.is_open:
                    self._raise_failure()
                    return None
                try:
                    if self._stop_request.made:
                        self._close()
                    elif not self._attend(None if deadline is None else max(0.0, deadline - time.monotonic())):
                        return None
                except TooManyRestartsError as error:
                    self._failure = error
                    self._close()
                finally:
                    self._tell()
            return self._events.popleft()

    def _attend(self, timeout: float | None) -> bool:
        with self._signals.wake(self._stop_request.fileno_to_write()):
            return self._family.attend(timeout)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _close(self) -> None:
        """Stop all children, and be as before the start."""
        self._family.close()
        self._signals.remove()
        self._stop_request.close()
        if self._at_exit is not None:
            self._at_exit.cancel()
            self._at_exit = None


def _checked(child: Child) -> Child:
    """Raise TypeError for what is no child, ValueError for what only a supervisor knows to be wrong."""
    if not isinstance(child, Child):
        raise TypeError(f"a Supervisor runs Child objects, not {type(child).__name__}")
    if isinstance(child.target, Supervisor) and child.tables:
        raise ValueError(f"child {child.name!r} is a supervisor: its tables belong to the children that use them")
    return child


def _check_limits(max_restarts: int, max_seconds: float) -> None:
    """Raise TypeError or ValueError unless a supervisor can be limited so."""
    if isinstance(max_restarts, bool) or not isinstance(max_restarts, int) or max_restarts < 0:
        raise ValueError(f"max_restarts is a number of restarts from 0 up, not {max_restarts!r}")
    if isinstance(max_seconds, bool) or not isinstance(max_seconds, (int, float)):
        raise TypeError(f"max_seconds is a number of seconds above 0, not {type(max_seconds).__name__}")
    if math.isnan(max_seconds) or max_seconds <= 0:
        raise ValueError(f"max_seconds is a number of seconds above 0, not {max_seconds!r}")
