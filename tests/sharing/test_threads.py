# SPDX-License-Identifier: Apache-2.0
"""One handle, many threads; close, drop and fork in the middle of it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest

import tablemgr as tm
from tests.support.child import Child, in_child


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Threads change places often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@contextmanager
def running(*functions: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Threads for the length of a block; what they raised is in the list afterwards."""
    raised: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield raised
    finally:
        for thread in threads:
            thread.join()


def test_threads_share_a_handle() -> None:
    """8 threads count through one handle, alone and in blocks; the sums are exact."""
    table = tm.create("t", access="public")

    def work() -> None:
        for n in range(500):
            table.update_counter(n % 3, 1, (n % 3, 0))
            with table.atomic() as tx:
                tx.update_counter("a", 1, ("a", 0))
                tx.update_counter("b", 1, ("b", 0))

    with running(*[work] * 8) as raised:
        pass
    assert raised == []
    assert sum(table.lookup_element(n, 1) for n in range(3)) == 4000
    assert table.lookup_element("a", 1) == table.lookup_element("b", 1) == 4000


@pytest.mark.parametrize("ending", ["close", "drop"])
def test_close_and_drop_may_race_every_verb(ending: str) -> None:
    """Threads that are at it when the handle ends get TableClosedError or TableNotFoundError, never a crash."""
    for _ in range(20):
        table = tm.create("t", access="public")
        table.insert([(n, "x" * 100) for n in range(500)])
        started = threading.Barrier(7)

        def until_it_ends(
            call: Callable[[int], object], table: tm.Table = table, started: threading.Barrier = started
        ) -> None:
            call(0)
            started.wait()
            with pytest.raises((tm.TableClosedError, tm.TableNotFoundError)):
                for n in range(10_000_000):
                    call(n % 500)

        def block(n: int, table: tm.Table = table) -> None:
            with table.atomic() as tx:
                tx.insert((n, "z"))
                tx.update_counter("n", 1, ("n", 0))

        calls: list[Callable[[int], object]] = [
            lambda n, table=table: table.lookup(n),  # type: ignore[misc] # mypy cannot infer it
            lambda n, table=table: table.insert((n, "y")),  # type: ignore[misc] # mypy cannot infer it
            lambda n, table=table: list(table),  # type: ignore[misc] # mypy cannot infer it
            lambda n, table=table: table.lookup_many(range(500)),  # type: ignore[misc] # mypy cannot infer it
            lambda n, table=table: table.info(),  # type: ignore[misc] # mypy cannot infer it
            block,
        ]
        with running(*[lambda call=call: until_it_ends(call) for call in calls]) as raised:
            started.wait()
            getattr(table, ending)()
        assert raised == []
        if ending == "close":
            tm.drop("t")


def test_fork_while_other_threads_write() -> None:
    """The child has a working handle, whatever the parent's threads were doing, and may close it."""
    table = tm.create("t", access="public")
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            table.insert([(n, "x" * 50) for n in range(200)])
            table.delete_many(range(200))

    def in_fork() -> int:
        table.insert(("child", os.getpid()))
        assert table.lookup("child") == [("child", os.getpid())]
        table.close()
        return os.getpid()

    with running(write, write) as raised:
        try:
            pids = [in_child(in_fork) for _ in range(20)]
        finally:
            ended.set()
    assert raised == []
    assert table.lookup("child") == [("child", pids[-1])]


def hold_stripes(pipe: Connection) -> None:
    """A writer that is at it until it is killed."""
    table = tm.attach("t")
    rows = [(n, "x" * 200) for n in range(2000)]
    pipe.send("ready")
    while True:
        table.update_counter("round", 1, ("round", 0))
        table.insert(rows)


def stopped_within_a_write(child: Child, table: tm.Table) -> None:
    """Stop the child again and again, at another point of its round each time, until it holds a lock."""
    rows = [(n, "probe") for n in range(2000)]
    begin = time.monotonic()
    table.insert(rows)
    round_seconds = 2 * (time.monotonic() - begin)
    for attempt in range(400):
        before = table.lookup("round")
        while table.lookup("round") == before:
            pass  # the child is running
        end = time.monotonic() + round_seconds * (attempt * 37 % 101) / 100
        while time.monotonic() < end:
            pass
        child.stop()
        try:
            table.insert(rows)
        except tm.LockTimeoutError:
            return
        child.go_on()
    pytest.fail("the writer was never stopped within a write")


def test_a_writer_waits_for_a_stopped_one_and_no_longer_than_its_timeout() -> None:
    """LockTimeoutError with nothing changed; readers go on; when the other goes on, so does the writer."""
    table = tm.create("t", access="public", lock_timeout=0.2)
    with Child(hold_stripes) as child:
        child.receive()
        stopped_within_a_write(child, table)
        before = time.monotonic()
        with pytest.raises(tm.LockTimeoutError, match="SIGCONT") as caught:
            table.insert([(n, "probe") for n in range(2000)])
        assert 0.15 < time.monotonic() - before < 5
        assert isinstance(caught.value, TimeoutError)
        assert len(table.lookup_many(range(2000))) == 2000
        assert table.lookup_element("round", 1) > 0
        child.kill()
        table.insert([(n, "mine") for n in range(2000)])
        table.delete("round")
    assert table.check() == []
    assert {text for _, text in table} == {"mine"}


def test_a_waiting_writer_can_be_interrupted() -> None:
    """A signal handler runs while a write waits, and what it raises ends the wait."""
    table = tm.create("t", access="public", lock_timeout=0.2)

    class InterruptedWaitError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptedWaitError

    patient = tm.attach("t", lock_timeout=60)
    with Child(hold_stripes) as child:
        child.receive()
        stopped_within_a_write(child, table)
        previous = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        before = time.monotonic()
        try:
            with pytest.raises(InterruptedWaitError):
                patient.insert([(n, "probe") for n in range(2000)])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert time.monotonic() - before < 10
