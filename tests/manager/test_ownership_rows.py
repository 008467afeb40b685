"""Erlang's life of an owner (ets.md 6.5), other keepers (3, 4, 5.1), what their users met (8) and what a port has to
decide (10), where no other file here states the row.

Which test states which row: test_rows_of_the_systems.py.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _ffi

from .support import (
    Daemon,
    State,
    Worker,
    claim_error,
    eventually,
    make_kept,
    on_table,
    open_table,
    owner_pid,
    until_equal,
)
from .test_events import attach_and, client_of, create, events, shown
from .test_keeper import take
from .test_names import register

# -- 6.5 heirs ---------------------------------------------------------------------------------------------------------


def open_as_own_heir(state: State, name: str) -> None:
    """In a worker: a table whose heir is its owner."""
    client_of(state)
    state[name] = tm.create(name, heir=os.getpid(), heir_data="mine")
    state[name].insert((1, 2))


def test_an_owner_that_is_its_own_heir_leaves_an_orphan(daemon: Daemon) -> None:
    """6.5: it is dead when it should inherit. Erlang's table goes then; here only heir=None lets one go."""
    make_kept(daemon, "t", open_as_own_heir)
    table = tm.new_table("t")
    assert (list(table), table.inherited) == ([(1, 2)], True)


def test_after_an_inheritance_the_manager_is_the_heir(daemon: Daemon) -> None:
    """6.5: of a process that inherited the table goes on to the manager, with the heir's word used up, unless told
    otherwise."""
    heir, owner = Worker(), Worker()
    owner.call(open_table, "t", heir=heir.pid, heir_data="word")
    owner.call(on_table, "t", "insert", (1, 2))
    owner.kill()
    assert shown(heir.call(events, least=2))[0] == ("transfer", "t", owner.pid, "heir", "word")
    with tm.attach("t") as table:
        assert (owner_pid(table), table.info().heir) == (heir.pid, "manager")
        heir.kill()
        until_equal(daemon.pid, owner_pid, table)
    back = tm.new_table("t")
    assert back.transfer is not None
    assert (back.transfer.from_.pid, back.transfer.data, list(back)) == (heir.pid, None, [(1, 2)])


def test_a_gift_leaves_heir_and_access_as_they_were(daemon: Daemon) -> None:
    """6.5: what the giver has arranged holds for the receiver, and comes to pass at its death."""
    heir, receiver = Worker(), Worker()
    table = tm.new_table("t", access="private", heir=heir.pid, heir_data="from the giver")
    table.give_away(receiver.pid, "gift")
    info = table.info()
    assert isinstance(info.heir, tm.Process)
    assert (info.heir.pid, info.access) == (heir.pid, "private")
    with pytest.raises(tm.AccessError):
        table.lookup(1)
    receiver.call(attach_and, "t", "insert", (1, 2))
    receiver.kill()
    assert shown(heir.call(events, least=1))[0] == ("transfer", "t", receiver.pid, "heir", "from the giver")
    assert heir.call(attach_and, "t", "lookup", 1) == [(1, 2)]


def test_what_setopts_refuses_changes_nothing(daemon: Daemon) -> None:
    """6.5: of several options all are looked at before any has an effect; others than the owner change none."""
    dead, other = Worker(), Worker()
    dead.kill()
    table = tm.new_table("t", access="public", heir_data="word")
    before = table.info()
    for options in ({"access": "private", "heir": dead.pid}, {"heir": None, "access": "open"}, {"heir": "nobody"}):
        with pytest.raises((LookupError, ValueError)):
            table.setopts(**options)
        assert table.info() == before
    assert other.call(set_error, "t", access="private", heir=None) == "NotOwnerError"
    assert table.info() == before


def set_error(state: State, name: str, **options: Any) -> str:
    """In a worker: the error of setopts."""
    try:
        tm.attach(name).setopts(**options)
    except tm.TableError as error:
        return type(error).__name__
    return "no error"


def test_who_drops_anothers_public_table_tells_nobody(daemon: Daemon) -> None:
    """6.5: neither owner nor heir gets a word; their next call says that it is gone."""
    owner, heir, third = Worker(), Worker(), Worker()
    heir.call(events)
    owner.call(open_table, "t", access="public", heir=heir.pid)
    third.call(attach_and, "t", "drop")
    with pytest.raises(tm.TableNotFoundError):
        owner.call(on_table, "t", "lookup", 1)
    owner.kill()
    assert [kind for kind, *_ in shown(heir.call(events, 0.3)) if kind != "ManagerUp"] == []
    assert tm.tables() == []


def fork_with_pid(pid: int, start: int | None) -> int | None:
    """A child that has this pid, and waits to be killed; None: others were faster each time.

    Of the clock tick `start`, in which the one before it began, it would be the same to everybody.
    """
    for _ in range(2000):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        if child == pid and _ffi.process_start(child) != start:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("role", ["heir", "owner"])
def test_a_process_with_a_dead_ones_pid_is_not_that_process(instance: str, role: str) -> None:
    """6.5, 10 row 1: it does not inherit what was meant for the other, and owns nothing that was the other's."""
    if not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK):
        pytest.skip("no pid can be chosen here")
    named, owner = Worker(), Worker()
    if role == "heir":
        owner.call(create, "t", heir=named.pid, access="public")
    else:
        named.call(create, "t", heir="manager", access="public")
    pid, start = named.pid, _ffi.process_start(named.pid)
    named.kill()
    impostor = fork_with_pid(pid, start)
    if impostor is None:
        pytest.skip("pids go too fast here")
    try:
        if role == "heir":
            owner.kill()
        with tm.attach("t") as table:
            info = table.info()
            assert info.orphan
            assert info.owner is not None
            if role == "owner":
                assert (info.owner.pid, info.owner.alive) == (impostor, False)
            with tm.Manager():
                assert tm.new_table("t", access="public").inherited
                assert owner_pid(table) == os.getpid()
    finally:
        os.kill(impostor, signal.SIGKILL)
        os.waitpid(impostor, 0)


# -- 3, 4, 5.1: Immortal, Eternal, etsgive -----------------------------------------------------------------------------


def test_a_keeper_does_not_wait_for_its_consumer_to_start(instance: str) -> None:
    """3: it is up at once, says what it keeps, and the consumer may come whenever it does."""
    with tm.TableKeeper("consumer", "t", access="public") as keeper:
        assert keeper.running
        keeper.table.insert((0, "before"))
        assert owner_pid(keeper.table) == os.getpid()
        consumer = Worker()
        consumer.call(register, "consumer")
        assert consumer.call(take, "t") == [(0, "before"), (1, consumer.pid)]


def test_a_keepers_table_survives_twenty_kills(instance: str) -> None:
    """5.1: its demo, with a private table."""
    with tm.TableKeeper("consumer", "t", access="private"):
        for turn in range(20):
            consumer = Worker()
            consumer.call(register, "consumer")
            assert len(consumer.call(take, "t")) == turn + 1
            consumer.kill()


def test_a_table_outlives_the_short_life_of_its_creator(daemon: Daemon) -> None:
    """4 (start without link), 8 row 22: made by a process that ends at once, in a thread that ends, it is there."""

    def make() -> None:
        tm.new_table("by a thread").insert((1, 2))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    make_kept(daemon, "by a process")
    assert {info.name for info in tm.tables()} == {"by a thread", "by a process"}
    with tm.attach("by a thread") as table:
        assert list(table) == [(1, 2)]
    assert tm.new_table("by a process").inherited


def test_stopping_the_keeper_of_tables_stops_no_table(daemon: Daemon) -> None:
    """4 (stop): those that it kept are orphans that can be used and claimed; nobody's handle is refused."""
    make_kept(daemon, "t", access="public")
    with tm.attach("t") as table:
        tm.Client().stop_manager()
        table.insert((1, 2))
        eventually(lambda: table.info().orphan)  # when its process has ended
        assert list(table) == [(1, 2)]


def test_starting_twice_gives_what_is_there(daemon: Daemon) -> None:
    """4, 8 rows 7 and 24: create-or-get has no gap between the look and the making, however many do it at once."""
    workers = [Worker() for _ in range(6)]
    for worker in workers:
        worker.start(open_shared, "d")
    assert sorted(worker.result() for worker in workers) == list(range(1, 7))
    assert len(tm.tables()) == 1


def open_shared(state: State, name: str) -> int:
    """In a worker: create or attach, and count."""
    state[name] = tm.SharedDict(name)
    return int(state[name].increment("n"))


# -- 8, 10: what users met, what a port must decide --------------------------------------------------------------------


def test_a_list_of_tables_is_made_while_they_come_and_go(daemon: Daemon) -> None:
    """8 row 21: what disappears between the look and the access is not in the list; nobody's call fails of it."""
    worker = Worker()
    worker.start(come_and_go, 300)
    seen = set()
    while not worker.has_result():
        for info in tm.tables():
            assert info.damaged is None
            seen.add(info.name)
            with suppress(tm.TableNotFoundError):
                tm.attach(info.name).close()
    worker.result()
    assert seen <= {"a", "b", "c"}
    assert tm.tables() == []


def come_and_go(state: State, times: int) -> None:
    """In a worker: tables that are dropped as soon as they are made."""
    for turn in range(times):
        tm.create("abc"[turn % 3], heir="manager").drop()


def test_thousands_of_attachments_leave_nothing(daemon: Daemon) -> None:
    """8 row 27: neither descriptors nor mappings, closed or collected; nor at the manager, claimed or refused."""
    tm.new_table("t", access="public").insert((1, 2))
    worker = Worker()

    def held(pid: int | str) -> tuple[int, int]:
        maps = Path(f"/proc/{pid}/maps").read_text()
        return len(os.listdir(f"/proc/{pid}/fd")), maps.count("tablemgr.")

    def use(times: int) -> None:
        for turn in range(times):
            table = tm.attach("t")
            assert table.lookup(1) == [(1, 2)]
            if turn % 2:
                table.close()
            if turn % 50 == 0:
                assert worker.call(claim_error, "t").startswith("TableOwnedError")
        del table

    use(60)
    before, manager_before = held("self"), held(daemon.pid)
    use(2000)
    assert held("self") == before
    eventually(lambda: held(daemon.pid)[0] <= manager_before[0] and held(daemon.pid)[1] <= manager_before[1])


def test_twenty_writers_attach_at_once(daemon: Daemon) -> None:
    """8 row 27: each gets in, and no write is lost."""
    table = tm.new_table("t", access="public")
    workers = [Worker() for _ in range(20)]
    for worker in workers:
        worker.start(attach_and_count, "t", 50)
    for worker in workers:
        worker.result()
    assert dict(table) == {"all": 1000} | {worker.pid: 50 for worker in workers}


def attach_and_count(state: State, name: str, times: int) -> None:
    """In a worker: count, with a new handle each time."""
    for _ in range(times):
        with tm.attach(name) as table:
            table.update_counter("all", 1, ("all", 0))
            table.update_counter(os.getpid(), 1, (os.getpid(), 0))


def test_after_everybody_was_killed_it_begins_where_it_ended(daemon: Daemon) -> None:
    """10 row 11: owners, readers, waiters and the manager in one stroke; what comes next is not told "exists"."""
    for turn in range(5):
        owner, reader, waiter = Worker(), Worker(), Worker()
        assert owner.call(open_table, "t", access="public") == ((True, "heir") if turn else (False, None))
        reader.call(attach_and, "t", "insert", (turn, "x"))
        waiter.start(open_table, "t", wait=None)
        everybody: list[Callable[[], None]] = [daemon.process.kill]
        everybody += [lambda worker=worker: worker.signal(signal.SIGKILL) for worker in (reader, owner, waiter)]  # type: ignore[misc]
        for kill in everybody[turn % 4 :] + everybody[: turn % 4]:
            kill()
        for worker in (owner, reader, waiter):
            worker.kill()
        daemon.process.wait()
        daemon.start()
    table = tm.new_table("t", access="public")
    assert sorted(table) == [(turn, "x") for turn in range(5)]
    assert table.check() == []
    assert [info.name for info in tm.tables()] == ["t"]


def test_a_table_whose_owner_dies_while_it_is_removed_is_inherited_when_it_is_back(daemon: Daemon) -> None:
    """10 row 11: the manager does not see it meanwhile; whoever has it open links it back, and then it does."""
    owner = Worker()
    owner.call(open_table, "t", access="public", heir_data="word")
    owner.call(on_table, "t", "insert", (1, 2))
    with tm.attach("t") as table:
        os.unlink(f"/dev/shm/tablemgr.{table.instance}.t")
        owner.kill()
        assert tm.tables() == []
        table.relink()
        until_equal(daemon.pid, owner_pid, table)
    back = tm.new_table("t", access="public")
    assert back.transfer is not None
    assert (list(back), back.transfer.from_.pid, back.transfer.data) == ([(1, 2)], owner.pid, "word")


def test_what_was_inserted_is_a_copy(daemon: Daemon) -> None:
    """10 row 6, 6.1: what the caller, or another process, does to its value afterwards is not in the table."""
    value: list[Any] = [1, {"a": [2]}]
    table = tm.new_table("t")
    table.insert((1, value))
    value[1]["a"].append(3)
    got = table.lookup(1)[0][1]
    assert got == [1, {"a": [2]}]
    got.append(4)
    assert table.lookup(1) == [(1, [1, {"a": [2]}])]
