"""add_table and del_table: etsmgr's rules without its defects."""

import pytest

import tablemgr as tm

from .support import Daemon, Worker, eventually, make_kept, on_table, open_table, owner_pid, rows


def add(state: dict[str, tm.Table], name: str) -> None:
    """In a worker: create a table of its own and put it under management."""
    table = state[name] = tm.create(name)
    tm.add_table(table, heir_data="added")


def forget(state: dict[str, tm.Table], name: str) -> None:
    """In a worker: end the management of an opened table."""
    tm.del_table(state[name])


def test_an_added_table_survives_its_owner(daemon: Daemon) -> None:
    """Made without the manager, it is the manager's to inherit once it was added."""
    worker = Worker()
    worker.call(add, "t")
    worker.call(on_table, "t", "insert", (1, 2))
    worker.kill()
    with tm.new_table("t") as table:
        assert table.lookup(1) == [(1, 2)]
        assert table.transfer is not None
        assert table.transfer.data == "added"


def test_adding_twice_is_adding(daemon: Daemon) -> None:
    """Nothing is counted that would have to be counted down again."""
    with tm.create("t") as table:
        tm.add_table(table)
        tm.add_table(table)
        assert table.info().heir == "manager"
        tm.del_table(table)
        assert table.info().heir is None
        table.drop()


def test_somebody_elses_table_cannot_be_added(daemon: Daemon) -> None:
    """Only the owner may; the error names the owner."""
    worker = Worker()
    worker.call(open_table, "t", access="public")
    with tm.attach("t") as table, pytest.raises(tm.NotOwnerError, match=f"process {worker.pid}"):
        tm.add_table(table)


def test_adding_a_table_that_came_twice_tells_of_the_last_time(daemon: Daemon) -> None:
    """Inherited, given away and added again as an orphan: the transfer is the one by which it is the caller's now."""
    first = make_kept(daemon, "t", heir_data="first")
    with tm.new_table("t", heir_data="second") as table:
        assert table.transfer is not None
        assert (table.transfer.from_.pid, table.transfer.data) == (first, "first")
        second = Worker()
        table.give_away(second.pid)
        second.kill()
        eventually(lambda: owner_pid(table) == daemon.pid)
        tm.add_table(table)
        assert table.transfer.from_.pid == second.pid
        table.drop()


def test_adding_an_orphan_makes_it_the_callers(daemon: Daemon) -> None:
    """etsmgr gives a table that the manager owns to whoever adds it."""
    make_kept(daemon, "t")
    with tm.attach("t") as table:
        tm.add_table(table)
        assert table.inherited
        assert table.transfer is not None
        table.insert((1, 2))
        table.drop()


def test_a_dropped_table_cannot_be_added(daemon: Daemon) -> None:
    """It is not there."""
    table = tm.create("t")
    table.drop()
    with pytest.raises(tm.TableNotFoundError):
        tm.add_table(table)


def test_a_name_cannot_be_added(daemon: Daemon) -> None:
    """The etsmgr of Erlang dies of this; here it is a TypeError that says what to pass, and the manager lives."""
    with pytest.raises(TypeError, match="attach"):
        tm.add_table("t")  # type: ignore[arg-type]  # what is tested
    assert tm.info().manager is not None


def test_a_table_of_another_instance_cannot_be_added(daemon: Daemon, instance: str) -> None:
    """Managers do not reach beyond their instance."""
    with tm.create("t") as table:
        with pytest.raises(ValueError, match=instance):
            tm.add_table(table, instance="another")
        table.drop()


def test_a_deleted_table_stays_with_its_owner_and_goes_with_it(daemon: Daemon) -> None:
    """del_table touches no rows; afterwards the table has no heir."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.call(on_table, "t", "insert", (1, 2))
    worker.call(forget, "t")
    assert worker.call(rows, "t") == [(1, 2)]
    assert [info.heir for info in tm.tables()] == [None]
    worker.kill()
    eventually(lambda: not tm.tables())


def test_only_the_owner_may_end_management(daemon: Daemon) -> None:
    """A third process cannot unregister somebody's table, neither by handle nor by name, nor an orphan."""
    worker = Worker()
    worker.call(open_table, "t", access="public")
    with tm.attach("t") as table:
        with pytest.raises(tm.NotOwnerError):
            tm.del_table(table)
        with pytest.raises(tm.NotOwnerError):
            tm.del_table("t")
        worker.kill()
        eventually(lambda: owner_pid(table) == daemon.pid)
        with pytest.raises(tm.NotOwnerError):
            tm.del_table("t")
        assert table.info().heir == "manager"


def test_what_is_not_managed_cannot_be_deleted(daemon: Daemon) -> None:
    """Neither a name without a table nor a table without an heir is under management."""
    with pytest.raises(tm.TableNotFoundError):
        tm.del_table("nothing")
    with tm.create("t") as table, pytest.raises(tm.TableNotFoundError, match="not under management"):
        tm.del_table(table)
    tm.drop("t")


def test_a_deleted_table_can_be_added_again(daemon: Daemon) -> None:
    """Nothing of the first management is left in the way."""
    with tm.new_table("t") as table:
        tm.del_table("t")
        tm.add_table(table)
        assert table.info().heir == "manager"
        table.drop()
    tm.new_table("t").drop()


def test_del_table_needs_no_manager(daemon: Daemon) -> None:
    """The heir is in the segment, and so is the right to change it."""
    with tm.new_table("t") as table:
        daemon.kill()
        tm.del_table("t")
        assert table.info().heir is None
        table.drop()
    with pytest.raises(tm.TableNotFoundError, match="^del_table: .*'t'"):
        tm.del_table("t")


def test_info_tells_of_manager_tables_and_waiters(daemon: Daemon, instance: str) -> None:
    """All that can be known of an instance, from any process."""
    worker, waiter = Worker(), Worker()
    for name in ("b", "a"):
        worker.call(open_table, name)
    waiter.start(open_table, "a", wait=None)
    info = eventually(lambda: tm.info() if tm.info().waiting else None)
    assert info.instance == instance
    assert (info.manager.pid, info.manager.alive) == (daemon.pid, True)
    assert [table.name for table in info.tables] == ["a", "b"]
    assert [(name, process.pid) for name, process in info.waiting] == [("a", waiter.pid)]
    daemon.kill()
    info = tm.info()
    assert info.manager is None
    assert info.since is None
    assert len(info.tables) == 2
