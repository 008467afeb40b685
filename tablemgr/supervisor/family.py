# SPDX-License-Identifier: Apache-2.0
"""A supervisor's children together: the order of start, the strategies, the restart intensity."""

from __future__ import annotations

import multiprocessing.connection
import selectors
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any

from tablemgr.supervisor.child import Child
from tablemgr.supervisor.events import Event, TooManyRestartsError
from tablemgr.supervisor.running import Running, held_back
from tablemgr.supervisor.wakeup import StopRequest

# The next child is started when this one has its tables, or after so many seconds: the manager that should give them
# may be served by the very thread that waits here.
START_SECONDS = 10.0


class Family:
    """The children, and what one's death means to the others. For one thread at a time.

    tell is called with every event. Between `open` and `close` there is a selector, in which each child with a process
    has its exit and, until it has its tables, its reports.
    """

    def __init__(
        self,
        strategy: str,
        max_restarts: int,
        max_seconds: float,
        context: BaseContext,
        instance: str,
        stop_request: StopRequest,
        tell: Callable[[Event], None],
    ) -> None:
        self.strategy = strategy
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self.context = context
        self.instance = instance
        self.members: dict[str, Running] = {}  # in the order of start
        self._stop_request = stop_request
        self._tell = tell
        self._restarted_at: deque[float] = deque()  # monotonic
        self._retries: list[Running] = []  # those that could not be started
        self._selector: selectors.BaseSelector | None = None

    # -- as a whole ---------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether children may run."""
        return self._selector is not None

    def open(self) -> None:
        """Start all, in order, unless a stop is requested. Raises what keeps one from starting; none is left then."""
        self._restarted_at.clear()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stop_request, selectors.EVENT_READ, ("stop", None, None))
        try:
            for running in list(self.members.values()):
                if self._stop_request.made or not self.start(running):
                    return
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all, in reverse order. If it is interrupted, it can be called again."""
        if self._selector is None:
            return
        for running in reversed(list(self.members.values())):
            self.stop(running)
        self._retries.clear()
        self._selector.close()
        self._selector = None

    def add(self, child: Child) -> Running:
        """A new member, the last in order. Raises ValueError if there is one of its name."""
        if child.name in self.members:
            raise ValueError(f"there is a child of the same name: {child.name!r}")
        running = self.members[child.name] = Running(child)
        return running

    def find(self, name: str, *, idle: bool = False) -> Running:
        """A member; idle: one that does not run. Raises LookupError, RuntimeError."""
        if name not in self.members:
            raise LookupError(f"no child is called {name!r}; these are: {', '.join(self.members) or 'none'}")
        running = self.members[name]
        if idle and (running.process is not None or running.failure is not None):
            raise RuntimeError(f"child {name!r} runs, or is about to: terminate_child it first")
        return running

    # -- what happens -------------------------------------------------------------------------------------------------

    def attend(self, timeout: float | None) -> bool:
        """Wait for something to happen, and do what it asks for; False if nothing did, or nothing can.

        Raises TooManyRestartsError when all have been stopped for that.
        """
        assert self._selector is not None
        retries = list(self._retries)
        if not retries and not any(running.process for running in self.members.values()):
            return False
        ready = self._selector.select(0 if retries else timeout)
        if not ready and not retries:
            return False
        dead = []
        for key, _ in ready:
            kind, running, process = key.data
            if kind == "stop":
                self._stop_request.take_note()
            elif kind == "report":
                self._read_report(running)
            else:
                dead.append((running, process))
        # Deaths noticed together are attended to in the order of start: then one restart may do for several.
        order = list(self.members.values())
        for running, process in sorted(dead, key=lambda pair: order.index(pair[0])):
            if running.process is process:  # else it was stopped meanwhile, and perhaps started again
                self._bury(running)
        for running in retries:
            self._retries.remove(running)
            if running.failure is not None:  # else it was stopped or started meanwhile
                self._restart(running)
        return True

    def _bury(self, running: Running) -> None:
        """It has ended by itself."""
        code = self._reap(running)
        if running.child.is_run_again(code):
            self._restart(running)
        elif running.child.restart == "temporary":
            del self.members[running.child.name]

    def _restart(self, running: Running) -> None:
        """It is to be run again: stop and start all that the strategy says, unless this happens too often."""
        if self._stop_request.made:
            return
        self._count_restart(running)
        everyone = list(self.members.values())
        if self.strategy == "one_for_one":
            affected = [running]
        elif self.strategy == "one_for_all":
            affected = everyone
        else:
            affected = everyone[everyone.index(running) :]
        for other in reversed(affected):
            self.stop(other)
        for other in affected:
            if other.child.restart == "temporary":
                continue  # forgotten by its stop
            if self._stop_request.made:
                return
            try:
                if not self.start(other):
                    return
            except Exception as error:
                other.failure = error
                self._retries.append(other)
                return

    def _count_restart(self, running: Running) -> None:
        now = time.monotonic()
        self._restarted_at.append(now)
        while self._restarted_at and now - self._restarted_at[0] > self.max_seconds:
            self._restarted_at.popleft()
        if len(self._restarted_at) > self.max_restarts:
            cause = running.failure
            self.close()
            raise TooManyRestartsError(
                f"child {running.child.name!r} {'died' if cause is None else f'could not be started ({cause})'}, and "
                f"that is more than {self.max_restarts} restarts within {self.max_seconds:g} seconds: all children "
                "were stopped; find out why it dies, or allow more"
            ) from cause

    # -- one of them --------------------------------------------------------------------------------------------------

    def start(self, running: Running) -> bool:
        """Start it, and wait for its tables; False if it ended without them, and those after it depend on it."""
        assert self._selector is not None
        with held_back(self.context.get_start_method()):
            self._tell(running.start(self.context, self.instance))
            self._selector.register(running.exit_fd, selectors.EVENT_READ, ("exit", running, running.process))
            if running.reports is not None:
                self._selector.register(running.reports, selectors.EVENT_READ, ("report", running, running.process))
        waits = bool(running.child.tables) and not running.child.stands_in_line
        return not waits or self._gets_tables(running) or self.strategy == "one_for_one"

    def _gets_tables(self, running: Running) -> bool:
        """Wait until it has its tables; False if it ends without them."""
        deadline = time.monotonic() + START_SECONDS
        while running.reports is not None and not self._stop_request.made:
            watched: list[Any] = [running.reports, running.exit_fd, self._stop_request]
            ready = multiprocessing.connection.wait(watched, max(0.0, deadline - time.monotonic()))
            if running.reports in ready:
                self._read_report(running)
            elif running.exit_fd in ready:
                return False
            elif ready:
                self._stop_request.take_note()
            else:
                return True  # it may still get them
        return running.has_tables or running.reports is not None

    def stop(self, running: Running) -> None:
        """End its process if it has one; forget it if it is temporary."""
        running.failure = None
        if running.process is not None:
            running.end()
            self._reap(running)
        if running.child.restart == "temporary":
            del self.members[running.child.name]

    def _read_report(self, running: Running) -> None:
        assert self._selector is not None
        if running.reports is None:
            return
        handed_back = running.read_report()
        if handed_back is not None:
            self._tell(handed_back)
        else:
            self._selector.unregister(running.reports)
            running.close_reports()

    def _reap(self, running: Running) -> int | None:
        """Its process has ended: the last that it said, and its exit code."""
        assert self._selector is not None
        # Where a handler of the program has raised in the middle of a step, the stop that follows finds it half done.
        watched = self._selector.get_map()
        if running.exit_fd in watched:
            self._selector.unregister(running.exit_fd)
        if running.reports is not None:
            if running.reports in watched:
                self._selector.unregister(running.reports)
            for handed_back in running.last_reports():
                self._tell(handed_back)
        exited = running.reap()
        self._tell(exited)
        return exited.exit
