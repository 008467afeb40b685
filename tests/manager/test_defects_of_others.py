"""What goes wrong with other table keepers does not with this one: one test for each defect that their users met."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import tablemgr as tm

from .support import Daemon, State, Worker, eventually, make_kept, on_table, open_table, owner_pid, rows, until_equal
from .test_events import attach_and, create, events, shown


def test_clients_and_orphans_outlive_the_manager(daemon: Daemon) -> None:
    """Nobody dies with it, no table is lost, its heir is its successor, and nobody has to register anything again."""
    orphan = make_kept(daemon, "orphan")
    owner = Worker()
    owner.call(open_table, "owned")
    owner.call(on_table, "owned", "insert", (1, 2))
    for _ in range(2):
        daemon.kill()
        assert owner.call(rows, "owned") == [(1, 2)]
        daemon.start()
    owner.kill()
    for name, before in (("owned", owner.pid), ("orphan", orphan)):
        table = tm.new_table(name)
        assert table.transfer is not None
        assert (table.transfer.from_.pid, table.info().heir) == (before, "manager")


def test_registering_again_and_again_costs_one_deletion(daemon: Daemon) -> None:
    """There are no counts that could leak: managed is what has an heir."""
    for _ in range(5):
        table = tm.new_table("t")
        tm.add_table(table)
    tm.del_table("t")
    assert table.info().heir is None
    with pytest.raises(tm.TableNotFoundError, match="not under management"):
        tm.del_table("t")


def test_a_dropped_table_leaves_no_dead_entry(daemon: Daemon) -> None:
    """Whoever drops it, and however: its name is free for any kind of table."""
    tm.new_table("t").drop()
    assert tm.new_table("t", type="bag").info().type == "bag"
    os.unlink(f"/dev/shm/tablemgr.{tm.Client().instance}.t")
    table = tm.new_table("t", type="ordered_set")
    assert (table.inherited, table.info().type) == (False, "ordered_set")


def test_the_table_of_a_deleted_entry_is_nobodys_for_ever(daemon: Daemon) -> None:
    """del_table clears the heir, so the manager is not left with a table that nobody can claim."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.call(delete_entry, "t")
    worker.kill()
    eventually(lambda: not tm.tables())


def delete_entry(state: State, name: str) -> None:
    """In a worker: end the management of a table."""
    tm.del_table(state[name])


def test_asking_for_a_bag_is_not_answered_with_a_set(daemon: Daemon) -> None:
    """Options that do not fit are an error, not ignored."""
    make_kept(daemon, "t")
    with pytest.raises(tm.TableMismatchError, match="'bag'"):
        tm.new_table("t", type="bag")


def test_a_normal_end_is_as_good_as_a_crash(daemon: Daemon) -> None:
    """The table is kept, and the exit status tells one from the other."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.start(leave)
    table = tm.new_table("t", wait=30)
    assert table.inherited
    assert shown([next(iter(tm.events(30))) for _ in range(2)])[1] == ("died", "t", worker.pid, 0)


def leave(state: State) -> None:
    """In a worker: end in good order."""
    os._exit(0)


def test_a_zombie_owns_nothing(daemon: Daemon) -> None:
    """A process that nobody has waited for is dead all the same."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.signal(signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # it is one now, and stays one
    assert tm.new_table("t", wait=30).inherited
    with open(f"/proc/{worker.pid}/stat") as stat:
        assert stat.read().rpartition(")")[2].split()[0] == "Z"


def test_a_forked_child_does_not_own_its_parents_table(daemon: Daemon) -> None:
    """It is told whose the table is, and its end changes nothing."""
    table = tm.new_table("t")
    child = Worker()
    with pytest.raises(tm.TableOwnedError, match=f"process {os.getpid()}"):
        child.call(open_table, "t")
    child.kill()
    assert owner_pid(table) == os.getpid()


def test_a_dead_owners_private_table_is_read_by_nobody(daemon: Daemon) -> None:
    """Not before the hand-over, not by others after it; the new owner reads every row."""
    worker = Worker()
    worker.call(open_table, "t", access="private")
    worker.call(on_table, "t", "insert", (1, "secret"))
    with tm.attach("t") as other:
        worker.signal(signal.SIGKILL)
        for _ in range(200):
            with pytest.raises(tm.AccessError):
                other.lookup(1)
        eventually(lambda: owner_pid(other) == daemon.pid)
        with pytest.raises(tm.AccessError):
            other.lookup(1)
        assert tm.new_table("t").lookup(1) == [(1, "secret")]


def test_an_owner_that_names_itself_gets_what_it_gave_back(instance: str) -> None:
    """Heir = me, then give_away: the table returns at the receiver's death, with the heir's word."""
    table = tm.create("t", heir=os.getpid(), heir_data="back")
    worker = Worker()
    table.give_away(worker.pid, "there")
    assert shown(worker.call(events, least=1)) == [("transfer", "t", os.getpid(), "gift", "there")]
    worker.signal(signal.SIGKILL)
    found = shown([next(iter(tm.events(30))) for _ in range(2)])
    assert found == [("transfer", "t", worker.pid, "heir", "back"), ("died", "t", worker.pid, -signal.SIGKILL)]


def test_a_receiver_that_dies_at_once_loses_nothing(daemon: Daemon) -> None:
    """The race that costs other keepers the table: it is the heir's."""
    for _ in range(5):
        table = tm.new_table("t", heir=os.getpid())
        table.insert((1, "kept"))
        worker = Worker()
        worker.signal(signal.SIGSTOP)
        table.give_away(worker.pid)
        worker.kill()
        until_equal(os.getpid(), owner_pid, table)
        assert table.lookup(1) == [(1, "kept")]
        table.drop()


def test_a_third_process_deletes_nobodys_entry(daemon: Daemon) -> None:
    """Neither one that is owned nor one that is kept."""
    owner = Worker()
    owner.call(open_table, "owned")
    make_kept(daemon, "kept")
    for name in ("owned", "kept"):
        with pytest.raises(tm.NotOwnerError):
            tm.del_table(name)
        with pytest.raises(tm.NotOwnerError), tm.attach(name) as table:
            tm.abandon_table(table)
    assert {info.name: info.heir for info in tm.tables()} == {"owned": "manager", "kept": "manager"}


def test_transfers_of_many_tables_keep_their_order(daemon: Daemon) -> None:
    """A hundred tables of one owner reach the heir in the order of their creation."""
    heir, owner = Worker(), Worker()
    names = [f"{number * 37 % 100:03}" for number in range(100)]
    for name in names:
        owner.call(create, name, heir=heir.pid)
    owner.kill()
    told: list[Any] = heir.call(events, least=200)
    assert [event.name for event in told[:100] if isinstance(event, tm.TableTransfer)] == names
    assert [event.name for event in told[100:] if isinstance(event, tm.OwnerDied)] == names
    heir.call(attach_and, names[0], "insert", (1, 2))
