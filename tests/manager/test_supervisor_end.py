"""However a supervisor ends, its children end before it or with it: stop, signals, SIGKILL, a forgotten one."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import Child, ChildExited, ChildStarted, Supervisor

from .supervised import (
    METHODS,
    do_something_else,
    have_own_handlers,
    idle,
    is_dead,
    is_gone,
    iterate,
    linger,
    noted_pid,
    notes,
    outcome,
    refuse,
    run,
    start,
    stay,
    the_book,
    until,
    zombies_of_mine,
)
from .support import TIMEOUT, Worker, eventually


@pytest.fixture(autouse=True)
def no_zombies() -> Iterator[None]:
    """Whatever a test does, its children have been waited for."""
    yield
    assert zombies_of_mine() == []


@pytest.fixture
def book(instance: str) -> Iterator[tm.Table]:
    """What the children write."""
    with the_book() as book:
        yield book


def stays(*names: str, **options: Any) -> list[Child]:
    """Children that note their start and their end."""
    return [Child(name, stay, (name,), **options) for name in names]


def ends(book: tm.Table) -> list[str]:
    """Who has noted its end, in order."""
    return [text.split()[0] for text in notes(book) if text.endswith(" ends")]


# -- stop --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shutdown", [None, math.inf, 1e300])
def test_shutdown_may_be_for_ever(book: tm.Table, tmp_path: Path, shutdown: float | None) -> None:
    """The child is not killed, however long it takes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    worker = Worker()
    worker.call(start, [Child("slow", linger, ("slow", str(fifo)), shutdown=shutdown)])
    noted_pid(book, "slow")
    worker.start(stop)
    eventually(lambda: "slow lingers" in notes(book))
    fifo.write_bytes(b"enough")
    assert worker.result() == [0]


def stop(state: dict[str, Any]) -> list[int | None]:
    """In a worker: stop the supervisor; the exit codes of its children."""
    state["supervisor"].stop()
    return [event.exit for event in state["supervisor"].events() if isinstance(event, ChildExited)]


def test_a_stopped_process_ends_in_order_too(book: tm.Table) -> None:
    """SIGTERM reaches it because it is continued."""
    with Supervisor(stays("a", shutdown=None), context="fork") as supervisor:
        pid = noted_pid(book, "a")
        os.kill(pid, signal.SIGSTOP)
    assert ends(book) == ["a"]
    assert [event.exit for event in supervisor.events() if isinstance(event, ChildExited)] == [0]


def test_a_stop_ends_the_iteration_of_another_thread(book: tm.Table) -> None:
    """It returns when the children have ended; what is for that thread only is refused to this one."""
    supervisor = Supervisor(stays("a", "b"), context="fork")
    supervisor.start()
    for name in "ab":
        noted_pid(book, name)
    driving = threading.Event()

    def drive() -> None:
        for _ in supervisor.events():
            driving.set()

    thread = threading.Thread(target=drive)
    thread.start()
    assert driving.wait(TIMEOUT)
    eventually(lambda: not supervisor._events)
    eventually(lambda: refuses(supervisor))
    supervisor.stop()
    assert supervisor.processes() == {}
    assert ends(book) == ["b", "a"]
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def refuses(supervisor: Supervisor) -> bool:
    """Whether another thread drives it now."""
    try:
        supervisor.terminate_child("nobody")
    except LookupError:
        return False
    except RuntimeError as error:
        return "which another one does" in str(error)
    return False


def test_a_supervisor_can_be_started_again(book: tm.Table) -> None:
    """After a stop it is as good as new."""
    supervisor = Supervisor(stays("a"), max_restarts=0, context="fork")
    for turn in (1, 2):
        with supervisor:
            eventually(lambda turn=turn: sum("is process" in text for text in notes(book)) == turn)  # type: ignore[misc]
            with pytest.raises(RuntimeError, match="runs already"):
                supervisor.start()
        assert len(list(supervisor.events())) == 2
    assert ends(book) == ["a", "a"]


def test_descriptors_do_not_accumulate(instance: str) -> None:
    """However often children are run again, and after the stop there are as many as before."""

    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_now()
    with Supervisor([Child("a", idle), Child("b", idle)], "one_for_all", 100, context="fork") as supervisor:
        running = open_now()
        for _ in range(10):
            os.kill(supervisor.processes()["a"].pid, signal.SIGKILL)
            until(supervisor, ChildStarted, 2)
        assert open_now() <= running
    assert open_now() == before


# -- signals to the supervisor's process -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "number", "came"),
    [
        (run, signal.SIGTERM, "end"),
        (run, signal.SIGINT, "KeyboardInterrupt"),
        (iterate, signal.SIGTERM, "end"),
        (iterate, signal.SIGINT, "KeyboardInterrupt"),
        (do_something_else, signal.SIGTERM, "SystemExit 143"),
        (do_something_else, signal.SIGINT, "KeyboardInterrupt"),
        (have_own_handlers, signal.SIGTERM, "end"),
    ],
)
def test_a_signal_to_the_supervisors_process_stops_its_children_in_order(
    book: tm.Table, how: Callable[[Supervisor], None], number: signal.Signals, came: str
) -> None:
    """Whatever the main thread does at that moment; the handlers are the usual ones again then."""
    worker = Worker()
    worker.start(outcome, how, stays("a", "b", "c"))
    pids = [noted_pid(book, name) for name in "abc"]
    worker.signal(number)
    assert worker.result() == came
    assert ends(book) == ["c", "b", "a"]
    assert all(is_gone(pid) for pid in pids)


def test_a_signal_that_comes_during_a_stop_waits_for_its_end(book: tm.Table, tmp_path: Path) -> None:
    """The children that are left are stopped in order, before what the signal does is done."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    worker = Worker()
    worker.start(outcome, do_something_else, [*stays("a"), Child("slow", linger, ("slow", str(fifo)))])
    for name in ("a", "slow"):
        noted_pid(book, name)
    worker.signal(signal.SIGINT)
    eventually(lambda: "slow lingers" in notes(book))
    worker.signal(signal.SIGTERM)
    fifo.write_bytes(b"enough")
    assert worker.result() == "SystemExit 143"
    assert ends(book) == ["a"]


def test_a_forked_process_has_nothing_of_the_handlers(book: tm.Table) -> None:
    """SIGTERM ends it, and is no request to its parent's supervisor."""
    worker = Worker()
    worker.start(outcome, fork_another, stays("a"))
    assert worker.result() == "end"


def fork_another(supervisor: Supervisor) -> None:
    """A program with processes of its own beside the children."""
    with supervisor:
        pid = os.fork()
        if pid == 0:
            try:
                threading.Event().wait(TIMEOUT)
            finally:
                os._exit(1)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert list(supervisor.processes()) == ["a"]


def test_a_forked_process_that_leaves_the_with_block_stops_nobody(book: tm.Table) -> None:
    """The children are its parent's."""
    worker = Worker()
    worker.start(outcome, leave_in_another, stays("a"))
    assert worker.result() == "end"


def leave_in_another(supervisor: Supervisor) -> None:
    """A program that forks in the with block."""
    parent = os.getpid()
    try:
        with supervisor:
            pid = os.fork()
            if pid == 0:
                raise SystemExit
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            assert not supervisor._stop_request.made
            assert list(supervisor.processes()) == ["a"]
            assert list(supervisor.events(0.05))[1:] == []
    finally:
        if os.getpid() != parent:
            os._exit(7)


def test_a_fork_server_starts_others_without_held_back_signals(instance: str) -> None:
    """What a supervisor blocks while it starts a child is not handed down to everybody's processes."""
    context = multiprocessing.get_context("forkserver")
    with Supervisor([Child("a", idle)], context=context):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=send_mask, args=(send,))
        process.start()
        assert receive.poll(TIMEOUT)
        assert receive.recv() == set()
        process.join()
        process.close()
    receive.close()
    send.close()


def send_mask(connection: Any) -> None:
    """Which signals are blocked here."""
    connection.send(signal.pthread_sigmask(signal.SIG_BLOCK, []))


# -- without a stop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_children_end_when_their_supervisor_is_killed(book: tm.Table, method: str) -> None:
    """With SIGTERM first, and with SIGKILL if they do not mind that; unless they are told to carry on."""
    worker = Worker()
    children = [
        *stays("orderly"),
        Child("stubborn", refuse, ("stubborn",), shutdown=0.1),
        *stays("brutal", shutdown=0),
        *stays("independent", carry_on=True),
    ]
    worker.call(start, children, context=method)
    pids = {child.name: noted_pid(book, child.name) for child in children}
    worker.kill()
    for name in ("orderly", "stubborn", "brutal"):
        eventually(lambda name=name: is_dead(pids[name]))  # type: ignore[misc]
    assert ends(book) == ["orderly"]
    assert not is_dead(pids["independent"])
    os.kill(pids["independent"], signal.SIGTERM)
    eventually(lambda: is_dead(pids["independent"]))
    assert ends(book) == ["orderly", "independent"]


SCRIPT = """
import multiprocessing, signal, sys
import tablemgr as tm
from tests.manager.supervised import idle, note, stay

def forget():
    supervisor = tm.Supervisor([tm.Child("a", stay, ("a",)), tm.Child("b", stay, ("b",))], context="fork")
    supervisor.start()
    while sum("is process" in text for _, text in tm.attach("book").lookup("notes")) < 2:
        pass

if sys.argv[1] == "main":
    forget()
else:
    process = multiprocessing.get_context("fork").Process(target=forget)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("where", ["main", "forked"])
def test_children_are_stopped_at_the_end_of_the_interpreter(book: tm.Table, where: str) -> None:
    """A program that forgets its supervisor neither hangs nor leaves anything."""
    root = Path(__file__).parents[2]
    program = subprocess.run([sys.executable, "-c", SCRIPT, where], cwd=root, timeout=TIMEOUT, check=False)
    assert program.returncode == 0
    assert ends(book) == ["b", "a"]
    assert all(is_dead(noted_pid(book, name)) for name in "ab")


# -- supervisors of supervisors ----------------------------------------------------------------------------------------


def tree(method: str) -> Supervisor:
    """Two levels."""
    inner = Supervisor(stays("x", "y"), "rest_for_one", context=method)
    return Supervisor([*stays("a"), Child("inner", inner, shutdown=None)], context=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_tree_of_supervisors_restarts_where_it_must_and_stops_in_order(book: tm.Table, method: str) -> None:
    """A leaf is the inner supervisor's business; a killed inner supervisor takes its leaves with it and comes back."""
    with tree(method) as outer:
        assert outer.count_children() == {"specs": 2, "active": 2, "supervisors": 1, "workers": 1}
        x, y = (noted_pid(book, name) for name in "xy")
        os.kill(y, signal.SIGKILL)
        eventually(lambda: noted_pid(book, "y") != y)
        y = noted_pid(book, "y")
        inner = outer.processes()["inner"].pid
        os.kill(inner, signal.SIGKILL)
        until(outer, ChildStarted, 3)
        for pid in (x, y):
            eventually(lambda pid=pid: is_dead(pid))  # type: ignore[misc]
        eventually(lambda: noted_pid(book, "x") != x and noted_pid(book, "y") != y)
        before = len(ends(book))
    assert ends(book)[before:] == ["y", "x", "a"]
    assert [event.exit for event in outer.events() if isinstance(event, ChildExited)][-2:] == [0, 0]


def test_a_tree_ends_with_its_root(book: tm.Table) -> None:
    """SIGKILL of the outermost supervisor reaches every leaf, in order below."""
    inner = Supervisor(stays("x", "y"), context="fork")
    worker = Worker()
    worker.start(outcome, run, [*stays("a"), Child("inner", inner, shutdown=None)])
    pids = [noted_pid(book, name) for name in "axy"]
    worker.kill()
    for pid in pids:
        eventually(lambda pid=pid: is_dead(pid))  # type: ignore[misc]
    assert [name for name in ends(book) if name != "a"] == ["y", "x"]


def test_a_supervisor_that_runs_does_not_pickle(instance: str) -> None:
    """Its processes belong to one process; before and after it does, and means the same."""
    supervisor = Supervisor([Child("a", idle)], "one_for_all", 7, 11.0, context="fork")
    copy = pickle.loads(pickle.dumps(supervisor))
    assert copy.__reduce__()[1] == supervisor.__reduce__()[1]
    with supervisor, pytest.raises(TypeError, match="runs cannot be pickled"):
        pickle.dumps(supervisor)


def test_time_outs_are_kept_while_children_are_busy(instance: str) -> None:
    """An iteration with a timeout ends by it, not by a signal or a wake-up."""
    with Supervisor([Child("a", idle)], context="fork") as supervisor:
        list(supervisor.events(0))
        begun = time.monotonic()
        assert list(supervisor.events(0.05)) == []
        assert time.monotonic() - begun >= 0.05


class _Interrupting(multiprocessing.context.ForkProcess):
    def start(self) -> None:
        super().start()
        signal.raise_signal(signal.SIGINT)


class _InterruptingContext(multiprocessing.context.ForkContext):
    Process = _Interrupting


def test_a_handler_that_raises_loses_no_child(instance: str) -> None:
    """The program's own handler raises when a process has just been started: that child is stopped like any other."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        supervisor = Supervisor([Child("a", idle)], context=_InterruptingContext())
        with pytest.raises(KeyboardInterrupt):
            supervisor.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert supervisor.processes() == {}
    assert multiprocessing.active_children() == []


def test_an_on_event_that_raises_at_the_start_leaves_no_child(instance: str) -> None:
    """There is no block whose end would stop them."""

    def fail(event: tm.supervisor.events.Event) -> None:
        started.append(event)
        raise LookupError("of on_event")

    started: list[Any] = []
    supervisor = Supervisor([Child("a", stay), Child("b", stay)], on_event=fail)
    with pytest.raises(LookupError, match="of on_event"), supervisor:
        pytest.fail("it was started")
    assert supervisor.processes() == {}
    assert is_gone(started[0].process.pid)


def test_a_supervisor_that_has_no_descriptor_to_start_with_leaves_nothing_to_be_done_at_exit(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be kept until then, once for each time."""

    def fail(*_: object) -> None:
        raise OSError("no descriptor")

    supervisor = Supervisor([Child("a", stay)])
    registry: dict[Any, Any] = vars(multiprocessing.util)["_finalizer_registry"]
    known = set(registry)
    with monkeypatch.context() as patch:
        patch.setattr("tablemgr.supervisor.wakeup.os.pipe2", fail)
        with pytest.raises(OSError, match="no descriptor"):
            supervisor.start()
    assert set(registry) == known
