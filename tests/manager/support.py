"""Real processes for the tests: workers that run functions on command, and managers to kill."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from tablemgr import Client, Table, TableError, attach

TIMEOUT = 30.0  # seconds until a test stops waiting for what should have happened at once

State = dict[str, Any]


def eventually(condition: Callable[[], object], timeout: float = TIMEOUT) -> Any:
    """Wait until the condition is true, and return what it returned; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still not so after {timeout} seconds: {condition}"
        time.sleep(0.002)
    return result


def until_equal(value: object, function: Callable[..., object], *args: Any) -> None:
    """Wait until the function returns the value; fails after TIMEOUT seconds."""
    eventually(lambda: function(*args) == value)


class Worker:
    """A process that calls functions when told to, and keeps their state between calls."""

    _all: ClassVar[list[Worker]] = []

    def __init__(self, method: str = "fork") -> None:
        context = multiprocessing.get_context(method)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, os.getpid()))  # type: ignore[attr-defined]  # it is
        self._process.start()
        theirs.close()
        self.pid: int = self._process.pid
        Worker._all.append(self)

    def start(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Begin a call in the worker; `result` waits for it."""
        self._connection.send((function, args, kwargs))

    def result(self, timeout: float = TIMEOUT) -> Any:
        """What the call returned, or raise what it raised."""
        assert self._connection.poll(timeout), f"no answer from worker {self.pid} after {timeout} seconds"
        ok, value = self._connection.recv()
        if not ok:
            raise value
        return value

    def has_result(self) -> bool:
        """Whether the call has ended."""
        return self._connection.poll(0)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `function(state, *args, **kwargs)` in the worker."""
        self.start(function, *args, **kwargs)
        return self.result()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def await_end(self) -> None:
        """Return when the process is dead; it can still be waited for."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._process.kill()
        self._process.join()
        self._connection.close()
        Worker._all.remove(self)

    @classmethod
    def end_all(cls) -> None:
        """Kill those that are left."""
        for worker in list(cls._all):
            worker.kill()


def _serve(connection: Connection, test: int) -> None:
    faulthandler.dump_traceback_later(TIMEOUT * 0.9, exit=False)  # where it hangs, if it does
    threading.Thread(target=_end_with, args=(test,), daemon=True).start()
    state: State = {}
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, function(state, *args, **kwargs))
        except Exception as error:
            answer = (False, error)
        connection.send(answer)


def _end_with(pid: int) -> None:
    """Die with the test, however it ends."""
    pidfd = os.pidfd_open(pid)
    select.select([pidfd], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


class Daemon:
    """A manager run by the test: `python -m tablemgr.manager` in the foreground."""

    _all: ClassVar[list[Daemon]] = []

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.start()
        Daemon._all.append(self)

    def start(self) -> None:
        """Run one, and wait until it serves."""
        command = [sys.executable, "-m", "tablemgr.manager", f"--instance={self.instance}"]
        self.process = subprocess.Popen(command)
        Client(self.instance).wait_for_manager(TIMEOUT)

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    @classmethod
    def end_all(cls) -> None:
        """End those that run."""
        for daemon in cls._all:
            with contextlib.suppress(ProcessLookupError):
                daemon.process.send_signal(signal.SIGCONT)
            daemon.kill()
        cls._all.clear()


def make_kept(daemon: Daemon, name: str, opening: Callable[..., Any] | None = None, **options: Any) -> int:
    """A table that the manager keeps, because the worker that opened it was killed; returns that worker's pid."""
    worker = Worker()
    worker.call(opening or open_table, name, **options)
    worker.kill()
    with attach(name) as table:
        eventually(lambda: owner_pid(table) == daemon.pid)
    return worker.pid


def line_length(instance: str) -> int:
    """How many wait."""
    return len(in_line(instance))


def in_line(instance: str) -> list[tuple[str, int]]:
    """Who waits for what, as (table, pid)."""
    return [(name, process.pid) for name, process in Client(instance).info().waiting]


# -- functions for workers ---------------------------------------------------------------------------------------------


def open_table(state: State, name: str, **options: Any) -> tuple[bool, str | None]:
    """new_table; returns (inherited, reason of the transfer)."""
    client: Client = state.setdefault("client", Client())
    table = state[name] = client.new_table(name, **options)
    return table.inherited, table.transfer.reason if table.transfer else None


def on_table(state: State, name: str, method: str, *args: Any) -> Any:
    """Call a method of a table that was opened."""
    return getattr(state[name], method)(*args)


def rows(state: State, name: str) -> list[tuple[Any, ...]]:
    """All rows of a table that was opened, sorted."""
    return sorted(state[name])


def claim_error(state: State, name: str, **options: Any) -> str:
    """The name of the error that new_table raises, and its message."""
    try:
        open_table(state, name, **options)
    except TableError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def owner_pid(table: Table) -> int:
    """The owner's pid as the segment says it."""
    owner = table.info().owner
    assert owner is not None
    return owner.pid
