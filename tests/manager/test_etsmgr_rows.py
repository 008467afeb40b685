"""etsmgr's and Blanket's tables of outcomes (ets.md 1.3 to 1.7, 2.2 to 2.4), where no other file here states the row.

Which test states which row: test_rows_of_the_systems.py.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm

from .support import (
    Daemon,
    State,
    Worker,
    claim_error,
    eventually,
    in_line,
    make_kept,
    on_table,
    open_table,
    owner_pid,
    rows,
    until_equal,
)
from .test_claiming import claim
from .test_events import events, shown

CONTENT: list[tuple[Any, ...]] = [(1, "one"), (1.0, None), ("k", b"\0", [1, {"a": (2,)}]), ((1, "x"), 2**70, -0.0)]


def crash(state: State) -> None:
    """In a worker: an access that no process survives."""
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # pytest's handler would write where it happened
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(state: State, code: int) -> None:
    """In a worker: end in good order."""
    sys.stdout.flush()
    os._exit(code)


def end_by_exception(state: State) -> None:
    """In a worker: what nobody catches."""
    raise SystemExit(7)


def counted(state: State, name: str) -> int:
    """In a worker: one more, in the table that it has claimed."""
    return int(state[name].update_counter("n", 1, ("n", 0)))


# -- 1.3 new_table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"type": "heap"}, ValueError),
        ({"keypos": -1}, (ValueError, IndexError)),
        ({"access": "open"}, ValueError),
        ({"max_bytes": 1}, ValueError),
        ({"heir": 2**22 + 1}, LookupError),
        ({"heir_data": "x" * 1000}, ValueError),
        ({"codec": "json"}, ValueError),
    ],
    ids=repr,
)
def test_a_table_that_cannot_be_made_leaves_no_entry(
    daemon: Daemon, options: dict[str, Any], error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """1.3 row 1: the caller is told, the manager goes on, and the name is free."""
    with pytest.raises(error):
        tm.new_table("t", **options)
    assert tm.tables() == []
    assert not tm.new_table("t").inherited
    assert daemon.process.poll() is None


def test_what_is_no_kind_of_table_is_taken_from_the_table_or_set_anew(daemon: Daemon) -> None:
    """1.3 row 3: access, mode and limit of a table that is there stay; the heir is the one that is asked for now."""
    make_kept(daemon, "t", access="public", mode=0o640, max_bytes=32 << 20, heir_data="first")
    heir = Worker()
    table = tm.new_table("t", access="private", mode=0o600, max_bytes=1 << 30, heir=heir.pid, heir_data="second")
    info = table.info()
    assert (table.inherited, info.access, info.mode, info.max_bytes) == (True, "public", 0o640, 32 << 20)
    assert isinstance(info.heir, tm.Process)
    assert info.heir.pid == heir.pid
    assert table.transfer is not None
    assert table.transfer.data == "first"


def test_a_claim_that_fails_later_changes_nothing(daemon: Daemon) -> None:
    """1.3 row 4: an heir that is dead is found out before the table is anybody's, not after."""
    kept = make_kept(daemon, "t")
    dead = Worker()
    dead.kill()
    with pytest.raises(LookupError):
        tm.new_table("t", heir=dead.pid)
    with tm.attach("t") as table:
        assert owner_pid(table) == daemon.pid
        assert table.info().kept
    back = tm.new_table("t")
    assert back.transfer is not None
    assert back.transfer.from_.pid == kept


# -- 1.4 add_table, 1.5 del_table --------------------------------------------------------------------------------------


def test_adding_ones_own_table_tells_of_no_transfer(daemon: Daemon) -> None:
    """1.4, last row: it is where it was."""
    tm.add_table(tm.create("t"))
    assert [event for event in tm.events(0.1) if not isinstance(event, tm.ManagerUp)] == []


def test_a_table_made_anew_under_a_dropped_ones_name_is_added(daemon: Daemon) -> None:
    """1.4 row 4: of the first nothing is left at the manager."""
    first = tm.create("t")
    tm.add_table(first)
    first.drop()
    second = tm.create("t", type="bag")
    tm.add_table(second)
    assert second.info().heir == "manager"
    with pytest.raises(tm.TableNotFoundError):
        tm.add_table(first)


def test_a_name_is_one_table_and_a_table_has_one_name(daemon: Daemon) -> None:
    """1.4 rows 5 and 9: no other table comes under a managed name, and a managed table goes under no second one."""
    tm.new_table("t")
    other = tm.create("other")
    with pytest.raises(tm.TableExistsError):
        tm.create("t")
    with pytest.raises(tm.TableExistsError):
        other.rename("t")
    worker = Worker()
    worker.call(open_table, "old")
    worker.call(on_table, "old", "insert", (1, 2))
    worker.call(on_table, "old", "rename", "new")
    with pytest.raises(tm.TableNotFoundError):
        tm.attach("old")
    worker.kill()
    with tm.attach("new") as table:
        until_equal(daemon.pid, owner_pid, table)
    assert list(tm.new_table("new")) == [(1, 2)]
    assert not tm.new_table("old").inherited


def test_a_dropped_table_has_no_entry_to_delete(daemon: Daemon) -> None:
    """1.5 row 3: neither for its owner nor for others."""
    worker = Worker()
    table = tm.new_table("t")
    table.drop()
    for how in (table, "t"):
        with pytest.raises(tm.TableNotFoundError):
            tm.del_table(how)
    assert worker.call(delete_error, "t") == "TableNotFoundError"


def delete_error(state: State, name: str) -> str:
    """In a worker: the error of del_table."""
    try:
        tm.del_table(name)
    except tm.TableError as error:
        return type(error).__name__
    return "no error"


# -- 1.7 crashes -------------------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[Callable[..., None] | signal.Signals, tuple[Any, ...], int]] = {
    "SIGKILL": (signal.SIGKILL, (), -9),
    "SIGTERM": (signal.SIGTERM, (), -15),
    "crash": (crash, (), -11),
    "exit 0": (leave, (0,), 0),
    "exit 3": (leave, (3,), 3),
    "sys.exit": (end_by_exception, (), 7),
}


@pytest.mark.parametrize("end", ENDS)
def test_however_a_client_ends_its_table_is_kept_with_every_row(daemon: Daemon, end: str) -> None:
    """1.7 rows 1 and 2: kept until it is claimed, by the manager, with its data; and how it ended is known."""
    how, arguments, code = ENDS[end]
    worker = Worker()
    worker.call(open_table, "t", type="duplicate_bag", heir_data=["word"])
    worker.call(on_table, "t", "insert", CONTENT)
    if isinstance(how, signal.Signals):
        worker.signal(how)
    else:
        worker.start(how, *arguments)
    with tm.attach("t") as table:
        until_equal(daemon.pid, owner_pid, table)
        assert sorted(map(repr, table)) == sorted(map(repr, CONTENT))
        assert table.info().kept
    back = tm.new_table("t", type="duplicate_bag")
    assert sorted(map(repr, back)) == sorted(map(repr, CONTENT))
    assert back.transfer is not None
    assert (back.transfer.from_.pid, back.transfer.reason, back.transfer.data) == (worker.pid, "heir", ["word"])
    found = shown([event for event in first_events(2) if not isinstance(event, tm.ManagerUp)])
    assert found == [("transfer", "t", worker.pid, "heir", ["word"]), ("died", "t", worker.pid, code)]


def first_events(count: int) -> list[tm.Event]:
    """So many events of this process, but for ManagerUp."""
    found: list[tm.Event] = []
    for event in tm.events(30):
        found += [] if isinstance(event, tm.ManagerUp) else [event]
        if len(found) == count:
            break
    return found


def test_a_manager_that_ends_takes_nobody_and_nothing_with_it(daemon: Daemon, instance: str) -> None:
    """1.7 rows 3 to 7: stopped or killed, with owners, orphans and claimants in line; nobody registers again."""
    make_kept(daemon, "orphan")
    owner, standby = Worker(), Worker()
    owner.call(open_table, "owned")
    owner.call(on_table, "owned", "insert", CONTENT)
    standby.start(open_table, "owned", wait=None)
    eventually(lambda: in_line(instance))
    for end in (daemon.terminate, daemon.kill):
        end()
        assert len(owner.call(rows_of, "owned")) == len(CONTENT)
        with tm.attach("owned") as table:
            assert (owner_pid(table), table.info().heir) == (owner.pid, "manager")
        daemon.start()
        until_equal([("owned", standby.pid)], in_line, instance)
    owner.kill()
    assert standby.result() == (True, "heir")
    assert len(standby.call(rows_of, "owned")) == len(CONTENT)
    assert tm.new_table("orphan").inherited


def rows_of(state: State, name: str) -> list[tuple[Any, ...]]:
    """In a worker: all rows, in any order."""
    return list(state[name])


# -- Blanket: 2.2 to 2.5 -----------------------------------------------------------------------------------------------


def test_create_and_populate_are_not_called_for_an_orphan(daemon: Daemon) -> None:
    """2.2: whatever they are, if the table is there."""
    make_kept(daemon, "t")

    def never(_: Any) -> tm.Table:
        raise AssertionError("called")

    assert tm.claim_table("t", never, populate=never).inherited


def test_blankets_counter_survives_owners_and_managers(daemon: Daemon) -> None:
    """2.5: one, kill the owner, two, kill the owner and the manager, three, kill the owner, four."""
    for turn in range(1, 5):
        owner = Worker()
        inherited, _ = owner.call(claim, "t", [])
        assert inherited == (turn > 1)
        assert owner.call(counted, "t") == turn
        if turn == 2:
            daemon.kill()
            assert owner.call(rows, "t") == [("n", 2)]
            daemon.start()
        owner.kill()


def test_after_a_managers_death_nothing_has_to_be_recovered(daemon: Daemon) -> None:
    """2.2 recover_heir, 2.3: the next manager is the heir, whoever asks for that; abandoning needs no manager."""
    owner, other = Worker(), Worker()
    owner.call(claim, "t", [(1, 2)])
    other.call(claim, "u", [(3, 4)])
    daemon.kill()
    assert owner.call(rows, "t") == [(1, 2)]
    other.call(abandon, "u")
    other.kill()
    owner.kill()
    daemon.start()
    assert tm.new_table("t").lookup(1) == [(1, 2)]
    assert [info.name for info in tm.tables()] == ["t"]


def abandon(state: State, name: str) -> None:
    """In a worker: abandon a table."""
    tm.abandon_table(state[name])


@pytest.mark.parametrize("first", ["owner", "manager"])
def test_owner_and_manager_killed_at_once_lose_nothing(daemon: Daemon, first: str) -> None:
    """2.3, 4: where two heirs that bounce lose the table, it waits for the next claim."""
    for turn in range(5):
        owner = Worker()
        owner.call(claim, "t", [])
        assert owner.call(counted, "t") == turn + 1
        if first == "owner":
            owner.signal(signal.SIGKILL)
        daemon.process.kill()
        owner.kill()
        daemon.process.wait()
        daemon.start()
    assert tm.claim_table("t", tm.create).lookup("n") == [("n", 5)]


def test_what_is_gone_cannot_be_abandoned(daemon: Daemon) -> None:
    """2.2: dropped or closed; twice is in test_claiming.py."""
    table = tm.claim_table("t", tm.create)
    table.drop()
    with pytest.raises(tm.TableNotFoundError):
        tm.abandon_table(table)
    closed = tm.claim_table("t", tm.create)
    closed.close()
    with pytest.raises(tm.TableClosedError):
        tm.abandon_table(closed)


def test_an_abandoned_and_dropped_table_is_claimed_anew(daemon: Daemon) -> None:
    """2.4: nothing remembers the name."""
    for turn in range(3):
        table = tm.claim_table("t", tm.create, populate=lambda fresh, turn=turn: fresh.insert((turn, turn)))  # type: ignore[misc]
        assert list(table) == [(turn, turn)]
        tm.abandon_table(table)
        table.drop()
    assert tm.tables() == []


def test_a_table_is_claimed_from_its_heir_only_when_it_has_no_owner(daemon: Daemon) -> None:
    """2.3: never from a live owner, a stopped one included, whatever is tried; always from a dead one."""
    owner = Worker()
    owner.call(open_table, "t")
    owner.signal(signal.SIGSTOP)
    claimant = Worker()
    for _ in range(20):
        assert claimant.call(claim_error, "t").startswith("TableOwnedError")
    with tm.attach("t") as table:
        assert owner_pid(table) == owner.pid
    owner.kill()
    assert claimant.call(open_table, "t") == (True, "heir")
    assert [kind for kind, *_ in shown(claimant.call(events, least=2))][-2:] == ["transfer", "died"]
