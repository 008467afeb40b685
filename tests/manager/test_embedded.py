"""tm.Manager inside a program: in a thread, in an event loop, as all that it does; beside forked children."""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import rendezvous

from .support import TIMEOUT, Daemon, State, Worker, claim_error, eventually, on_table, open_table, owner_pid, rows

# from Python 3.12 on a fork beside a thread, which is what some of these tests are about, is warned of
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_manager_in_a_thread_inherits_and_hands_back(instance: str, no_traces: None) -> None:
    """The whole round, with the manager in this process."""
    with tm.Manager() as manager:
        assert repr(manager) == f"<Manager of instance {instance!r}, running>"
        assert tm.info().manager.pid == os.getpid()  # type: ignore[union-attr]  # it runs
        first = Worker("spawn")
        first.call(open_table, "t")
        first.call(on_table, "t", "insert", (1, 2))
        first.kill()
        second = Worker("spawn")
        assert second.call(open_table, "t") == (True, "heir")
        assert second.call(rows, "t") == [(1, 2)]
    assert tm.info().manager is None
    assert "not running" in repr(manager)


def test_a_manager_in_an_event_loop_inherits_and_hands_back(instance: str, no_traces: None) -> None:
    """Clients in the same program use it from other threads."""

    async def main() -> None:
        async with tm.Manager():
            first = Worker("spawn")
            await asyncio.to_thread(first.call, open_table, "t")
            first.kill()
            table = await asyncio.to_thread(tm.new_table, "t")
            assert table.inherited
            table.drop()
        assert tm.info().manager is None

    asyncio.run(main())


def stop_when_serving(manager: tm.Manager) -> None:
    """In a thread beside serve_forever."""
    tm.wait_for_manager(TIMEOUT)
    manager.stop()


def serve(state: State, signals: bool) -> tuple[Any, Any]:
    """In a worker: serve until a signal or stop(); the signal handlers before and after."""
    before = signal.getsignal(signal.SIGTERM)
    manager = tm.Manager()
    if not signals:
        threading.Thread(target=stop_when_serving, args=(manager,)).start()
    manager.serve_forever()
    return before == signal.getsignal(signal.SIGTERM), tm.info().manager


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, None])
def test_serve_forever_ends_with_a_signal_or_with_stop(
    instance: str, number: signal.Signals | None, no_traces: None
) -> None:
    """It returns, the program goes on with the signal handlers that it had."""
    worker = Worker("spawn")
    worker.start(serve, number is not None)
    if number is not None:
        tm.wait_for_manager(TIMEOUT)
        worker.signal(number)
    assert worker.result() == (True, None)


def test_tables_of_a_manager_that_ended_are_orphans_though_its_process_lives(instance: str) -> None:
    """Nobody has to wait for the end of the program that embedded it."""
    with tm.Manager():
        worker = Worker("spawn")
        worker.call(open_table, "t", heir_data="word")
        worker.call(on_table, "t", "insert", (1, 2))
        worker.kill()
        with tm.attach("t") as table:
            eventually(lambda: owner_pid(table) == os.getpid())
    (info,) = tm.tables()
    assert info.orphan
    daemon = Daemon(instance)
    with tm.attach("t") as table:
        assert owner_pid(table) == daemon.pid
    back = tm.new_table("t")
    assert back.lookup(1) == [(1, 2)]
    assert back.transfer is not None
    assert back.transfer.data == "word"


def test_a_manager_that_cannot_listen_keeps_no_orphans(instance: str, runtime: Path) -> None:
    """It has inherited by then; its process lives on, and is no manager: they are orphans again."""
    owner = Worker("spawn")
    with tm.Manager():
        owner.call(open_table, "t")
    owner.kill()
    obstacle = Path(rendezvous.socket_path(instance))
    obstacle.mkdir()
    with pytest.raises(IsADirectoryError), tm.Manager():
        pass
    obstacle.rmdir()
    Daemon(instance)
    assert Worker("spawn").call(open_table, "t") == (True, "heir")


def test_the_program_that_embeds_a_manager_may_own_tables_itself(instance: str) -> None:
    """Its own are not given to others; what the manager holds it can claim like anybody."""
    worker, other = Worker("spawn"), Worker("spawn")
    with tm.Manager():
        own = tm.new_table("own")
        assert "TableOwnedError" in other.call(claim_error, "own")
        worker.call(open_table, "inherited")
        worker.kill()
        with tm.attach("inherited") as table:
            eventually(lambda: owner_pid(table) == os.getpid())
        inherited = tm.new_table("inherited")
        assert inherited.inherited
        inherited.insert((1, 2))
        assert "TableOwnedError" in other.call(claim_error, "inherited")
        tm.del_table(own)
    assert owner_pid(own) == owner_pid(inherited) == os.getpid()


def test_a_process_that_embeds_a_manager_is_told_of_deaths_from_before_it_asked(instance: str) -> None:
    """Its mailbox is there from the manager's start, whenever it is read for the first time."""
    dead = []
    with tm.Manager():
        for _ in range(3):
            worker = Worker()
            worker.call(open_table, "t")
            worker.kill()
            dead.append(worker.pid)
        eventually(lambda: tm.attach("t").info().kept)
        told = [event.process.pid for event in tm.events(timeout=0) if isinstance(event, tm.OwnerDied)]
    assert told == dead


def test_starting_twice_is_an_error(instance: str) -> None:
    """The same object, or another of the same instance in the same process."""
    with tm.Manager() as manager:
        with pytest.raises(RuntimeError, match="runs already"):
            manager.serve_forever()
        with pytest.raises(tm.ManagerRunningError), tm.Manager():
            pass
    with manager:
        assert tm.info().manager is not None


def embed(state: State) -> int:
    """In a worker: run a manager, and fork a child beside it that outlives it."""
    state["manager"] = tm.Manager().__enter__()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    return child


def test_a_forked_child_does_not_keep_a_dead_manager_alive(instance: str) -> None:
    """SIGKILLed, the host is no manager any more, though a child inherited its descriptors; waiters go on elsewhere."""
    host, owner, waiter = Worker(), Worker(), Worker()
    child = host.call(embed)
    try:
        owner.call(open_table, "t")
        waiter.start(open_table, "t", wait=None)
        eventually(lambda: tm.info().waiting)
        forked_later = host.call(fork_idle)
        host.kill()
        Daemon(instance)
        eventually(lambda: tm.info().waiting)
        owner.kill()
        assert waiter.result() == (True, "heir")
        os.kill(forked_later, signal.SIGKILL)
    finally:
        os.kill(child, signal.SIGKILL)


def fork_idle(state: State) -> int:
    """In a worker: fork a child that does nothing; it has the connections of the moment."""
    child = os.fork()
    if child == 0:
        signal.pause()
    return child


def test_a_forked_child_does_not_have_the_managers_pidfds(instance: str) -> None:
    """Each would take one of its descriptors, for nothing."""
    with tm.Manager():
        owner = Worker()
        owner.call(open_table, "t")
        eventually(lambda: pidfds({}, owner.pid))
        assert Worker().call(pidfds, owner.pid) == []
        assert pidfds({}, owner.pid)
        owner.kill()
        assert tm.new_table("t", wait=TIMEOUT).inherited


def pidfds(state: State, pid: int) -> list[str]:
    """The descriptors in this process that tell of that one's end."""
    return [entry.name for entry in Path("/proc/self/fdinfo").iterdir() if f"\nPid:\t{pid}\n" in _text(entry)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""  # the directory's own, or another thread's


@pytest.mark.parametrize("wait", [1, 2], ids=["for the thread", "for the manager"])
def test_an_interrupt_while_it_starts_leaves_no_manager(
    instance: str, no_traces: None, monkeypatch: pytest.MonkeyPatch, wait: int
) -> None:
    """There is no block whose end would stop it."""

    class Interrupted(threading.Event):
        count = 0

        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            Interrupted.count += 1
            if Interrupted.count == wait:
                raise KeyboardInterrupt
            return True

    manager = tm.Manager()
    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Event", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            manager.__enter__()
    assert "not running" in repr(manager)
    eventually(lambda: threading.active_count() == threads)
    with manager:
        pass


def test_a_task_that_is_cancelled_while_it_starts_one_leaves_no_manager(instance: str, no_traces: None) -> None:
    """The same in an event loop."""

    async def main() -> None:
        manager = tm.Manager()
        starting = asyncio.create_task(manager.__aenter__())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert "not running" in repr(manager)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        async with manager:
            pass

    asyncio.run(main())


def test_one_that_cannot_serve_in_an_event_loop_says_why(
    instance: str, no_traces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of being waited for."""

    def fail(*_: object) -> None:
        raise OSError("no descriptor")

    async def main() -> None:
        manager = tm.Manager()
        with monkeypatch.context() as patch:
            patch.setattr("tablemgr.manager.server.Watch", fail)
            with pytest.raises(OSError, match="no descriptor"):
                await asyncio.wait_for(manager.__aenter__(), TIMEOUT)
        assert "not running" in repr(manager)
        async with manager:
            pass

    asyncio.run(main())
