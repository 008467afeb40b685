"""TableKeeper: the table goes to whoever has the name, whenever that is up, and comes back when it dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

import tablemgr as tm

from .support import TIMEOUT, Daemon, State, Worker, eventually, open_table, owner_pid
from .test_events import events, shown
from .test_names import register


def keep(state: State, target: str, name: str, **options: Any) -> None:
    """In a worker: be a keeper."""
    state["keeper"] = tm.TableKeeper(target, name, **options)


def take(state: State, name: str) -> list[tuple[Any, ...]]:
    """In a worker: wait for the table, write a row, return all."""
    for event in tm.Client().events(30):
        if isinstance(event, tm.TableTransfer) and event.name == name:
            table = state[name] = tm.attach(name)
            table.insert((len(table), os.getpid()))
            return sorted(table)
    raise AssertionError("no transfer")


def test_a_table_goes_to_every_process_of_the_name(instance: str) -> None:
    """Push: the consumer registers and is told; killed, its successor gets every row. No manager runs."""
    with tm.TableKeeper("consumer", "t", access="private", data={}) as keeper:
        pids = []
        for turn in range(4):
            consumer = Worker()
            pids.append(consumer.pid)
            consumer.call(register, "consumer")
            assert consumer.call(take, "t") == list(enumerate(pids))
            assert owner_pid(keeper.table) == consumer.pid
            info = keeper.table.info()
            assert (info.access, info.heir) == ("private", tm.Process(*_me(), True))
            with pytest.raises(tm.AccessError):
                keeper.table.lookup(turn)
            consumer.kill()
        eventually(lambda: owner_pid(keeper.table) == os.getpid())
        assert sorted(keeper.table) == list(enumerate(pids))
        assert list(tm.events(0)) == []
    assert not keeper.running


def _me() -> tuple[int, int]:
    found = tm.Process(0, 0, False)
    tm.register("who am I")
    found = tm.whereis("who am I") or found
    return found.pid, found.start


def test_the_consumer_is_told_as_of_a_gift(instance: str) -> None:
    """From the keeper, with its data; the options are the table's."""
    consumer = Worker()
    consumer.call(register, "consumer")
    with tm.TableKeeper("consumer", "t", type="ordered_set", keypos=1, data=["d"]) as keeper:
        assert shown(consumer.call(events, least=1)) == [("transfer", "t", os.getpid(), "gift", ["d"])]
        info = keeper.table.info()
        assert (info.type, info.keypos) == ("ordered_set", 1)


def test_waiting_for_a_consumer_costs_nothing_to_speak_of(instance: str) -> None:
    """No busy loop: a hundredth of a processor is plenty."""
    with tm.TableKeeper("consumer", "t"):
        begun, used = time.monotonic(), time.process_time()
        while time.monotonic() < begun + 1:
            signal.sigtimedwait([], 0.1)
        assert time.process_time() - used < 0.1


def test_a_consumer_that_dies_at_once_loses_nothing(instance: str) -> None:
    """However close its death is to the gift, the table is the keeper's or its successor's."""
    with tm.TableKeeper("consumer", "t", access="public") as keeper:
        keeper.table.insert((1, "kept"))
        for _ in range(10):
            consumer = Worker()
            consumer.call(register, "consumer")
            consumer.kill()
            assert keeper.running
        eventually(lambda: owner_pid(keeper.table) == os.getpid())
        assert list(keeper.table) == [(1, "kept")]


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "unmanaged"])
def test_a_keeper_that_dies_is_followed_by_another(
    managed: bool, instance: str, request: pytest.FixtureRequest
) -> None:
    """The table stays with the consumer; when that has died, too, the new keeper takes the orphan up."""
    if managed:
        request.getfixturevalue("daemon")
    first, consumer = Worker(), Worker()
    consumer.call(register, "consumer")
    first.call(keep, "consumer", "t", access="public")
    assert consumer.call(take, "t") == [(0, consumer.pid)]
    first.kill()
    with tm.TableKeeper("consumer", "t", access="public") as keeper:
        assert owner_pid(keeper.table) == consumer.pid
        consumer.kill()
        eventually(lambda: owner_pid(keeper.table) == os.getpid())
        successor = Worker()
        successor.call(register, "consumer")
        assert len(successor.call(take, "t")) == 2


def test_a_keeper_takes_what_a_manager_keeps(daemon: Daemon) -> None:
    """Where both could, the consumer's table goes to the consumer."""
    worker = Worker()
    worker.call(open_table, "t", access="public")
    worker.kill()
    consumer = Worker()
    consumer.call(register, "consumer")
    with tm.TableKeeper("consumer", "t") as keeper:
        eventually(lambda: owner_pid(keeper.table) == consumer.pid)


def test_a_dropped_table_ends_its_keeper(instance: str) -> None:
    """There is nothing to keep."""
    keeper = tm.TableKeeper("consumer", "t")
    tm.drop("t")
    eventually(lambda: not keeper.running)
    keeper.close()


def test_what_a_keeper_refuses(instance: str) -> None:
    """Another kind of table, an heir, no name."""
    tm.create("t", type="bag", heir="manager")
    with pytest.raises(tm.TableMismatchError, match="TableKeeper"):
        tm.TableKeeper("consumer", "t")
    for options in ({"heir": None}, {"heir_data": 1}, {"nonsense": 1}):
        with pytest.raises(TypeError):
            tm.TableKeeper("consumer", "u", **options)
    for target in ("", 7):
        with pytest.raises((TypeError, ValueError)):
            tm.TableKeeper(target, "u")  # type: ignore[arg-type]  # what is tested
    assert [info.name for info in tm.tables()] == ["t"]


def test_a_closed_handle_ends_the_keeper(instance: str) -> None:
    """What passes is tried again; this does not pass."""
    with tm.TableKeeper("consumer", "t") as keeper:
        keeper.table.close()
        consumer = Worker()
        consumer.call(register, "consumer")
        eventually(lambda: not keeper.running)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_keeper_without_a_thread_leaves_nothing_behind(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the table, which another one finds."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    tm.create("t").drop()  # the mailbox has its descriptor
    before = _descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            tm.TableKeeper("consumer", "t")
    assert _descriptors() == before
    with tm.TableKeeper("consumer", "t") as keeper:
        assert keeper.running
    tm.drop("t")


def test_a_close_that_is_interrupted_can_be_repeated(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one has let go of nothing yet."""

    def interrupt(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    tm.create("t").drop()
    before = _descriptors()
    keeper = tm.TableKeeper("consumer", "t")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            keeper.close()
    keeper.close()
    assert keeper.table.closed
    assert _descriptors() == before
    tm.drop("t")


def test_two_threads_may_close_it_at_once(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither writes to a descriptor that the other has closed: it could be anybody's by then."""
    keeper = tm.TableKeeper("consumer", "t")
    write, closed, writing = os.eventfd_write, threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def write_late(descriptor: int, value: int) -> None:
        if threading.current_thread() is first:
            writing.set()
            closed.wait(0.5)  # not for ever: the other may have to wait for this one
        write(descriptor, value)

    def close() -> None:
        try:
            keeper.close()
        except OSError as error:
            failed.append(error)

    first = threading.Thread(target=close)
    monkeypatch.setattr(os, "eventfd_write", write_late)
    first.start()
    writing.wait(TIMEOUT)
    close()
    closed.set()
    first.join()
    assert not failed
    tm.drop("t")
