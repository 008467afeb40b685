"""What supervised children do in the tests, and the processes that supervise them there."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tablemgr as tm
from tablemgr import Child, Supervisor
from tablemgr.supervisor.events import Event

from .support import TIMEOUT, State, eventually

METHODS = ["fork", "spawn", "forkserver"]

# -- a book that everybody writes in -----------------------------------------------------------------------------------


def open_book() -> tm.Table:
    """A table for notes, which are kept in their order."""
    return tm.create("book", type="duplicate_bag", access="public")


def note(text: str) -> None:
    """Add a line."""
    with tm.attach("book") as book:
        book.insert(("notes", text))


def notes(book: tm.Table) -> list[str]:
    """All lines."""
    return [text for _, text in book.lookup("notes")]


# -- children ----------------------------------------------------------------------------------------------------------


def idle(**_: Any) -> None:
    """Until a signal comes."""
    while True:
        signal.pause()


def count_starts(tables: dict[str, tm.Table]) -> None:
    """Note that it was started, with the tables in hand; then wait to be killed."""
    tables["starts"].update_counter("n", 1, ("n", 0))
    signal.pause()


def exit_with(code: int) -> None:
    """End at once."""
    sys.exit(code)


def stay(name: str, **_: Any) -> None:
    """Note the start, with the pid, and at SIGTERM the end."""

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    note(f"{name} is process {os.getpid()}")
    signal.sigwait([signal.SIGTERM])
    note(f"{name} ends")


def refuse(name: str, **_: Any) -> None:
    """Note the start, and take no notice of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(f"{name} is process {os.getpid()}")
    idle()


def linger(name: str, fifo: str) -> None:
    """At SIGTERM note it, and end when something is written into the fifo."""

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    note(f"{name} is process {os.getpid()}")
    signal.sigwait([signal.SIGTERM])
    note(f"{name} lingers")
    Path(fifo).read_bytes()


def use(table: str) -> None:
    """Needs a table that another child opens."""
    tm.attach(table)
    note(f"attached {table}")
    idle()


def noted_pid(book: tm.Table, name: str) -> int:
    """The pid of the last process that a child noted; waits for one."""
    pids: list[int] = eventually(lambda: [int(t.split()[-1]) for t in notes(book) if t.startswith(f"{name} is ")])
    return pids[-1]


# -- processes that supervise, as functions for a Worker ---------------------------------------------------------------


def start(state: State, children: list[Child], **options: Any) -> dict[str, tm.Process]:
    """Start a supervisor that nobody drives."""
    supervisor = state["supervisor"] = Supervisor(children, **{"context": "fork", **options})
    supervisor.start()
    return supervisor.processes()


def outcome(state: State, how: Callable[[Supervisor], None], children: list[Child], **options: Any) -> str:
    """Supervise in this or that way; what came of it: "end", or the name of what was raised and its argument."""
    supervisor = Supervisor(children, **{"context": "fork", **options})
    try:
        how(supervisor)
    except BaseException as error:
        assert supervisor.processes() == {}
        assert not supervisor._family.is_open
        return f"{type(error).__name__} {error}".strip()
    assert supervisor.processes() == {}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == usual
    return "end"


def run(supervisor: Supervisor) -> None:
    """The simplest way."""
    supervisor.run()


def iterate(supervisor: Supervisor) -> None:
    """Over the events."""
    with supervisor:
        for _ in supervisor.events():
            pass


def do_something_else(supervisor: Supervisor) -> None:
    """The children run, and nobody looks after them."""
    with supervisor:
        while True:
            threading.Event().wait(0.01)  # a signal just before a wait does not end it


def have_own_handlers(supervisor: Supervisor) -> None:
    """A program that knows better."""
    before = signal.signal(signal.SIGTERM, lambda *_: supervisor.request_stop())
    with supervisor:
        events = list(supervisor.events())
        assert events
    signal.signal(signal.SIGTERM, before)


class Clock:
    """In the place of `time` where restarts are counted: it stands still until it is moved."""

    now = 0.0  # seconds

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.now


# -- looking -----------------------------------------------------------------------------------------------------------


def until(supervisor: Supervisor, kind: type[Event], count: int = 1) -> list[Any]:
    """Drive the supervisor until there were as many events of a kind; returns them."""
    found: list[Any] = []
    for event in supervisor.events(TIMEOUT):
        if isinstance(event, kind):
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError(f"{len(found)} of {count} {kind.__name__}")


def story(events: list[Event]) -> list[str]:
    """What happened to whom, as "Started a"."""
    return [f"{type(event).__name__.removeprefix('Child')} {getattr(event, 'name', '')}".strip() for event in events]


def is_gone(pid: int) -> bool:
    """Not even a zombie is left."""
    return not Path(f"/proc/{pid}").exists()


def is_dead(pid: int) -> bool:
    """Gone, or left as a zombie to whoever has to wait for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def zombies_of_mine() -> list[int]:
    """Children of this process that have ended and were not waited for."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[1]) == os.getpid():
                found.append(pid)
    return found


class FailingContext(multiprocessing.context.ForkContext):
    """Starts processes by fork, when `refusals` is 0; else that is one less and the start fails."""

    def __init__(self) -> None:
        self.refusals = 0
        context = self

        class Process(multiprocessing.context.ForkProcess):
            def start(self) -> None:
                if context.refusals:
                    context.refusals -= 1
                    raise BlockingIOError("no more processes")
                super().start()

        setattr(self, "Process", Process)  # noqa: B010  # what is a class attribute elsewhere


@contextlib.contextmanager
def the_book() -> Iterator[tm.Table]:
    """Open for as long as the test writes in it, gone afterwards."""
    book = open_book()
    try:
        yield book
    finally:
        book.drop()
