"""Blanket's calls: claim_table makes or takes over, populates whole or not at all; abandon_table lets go."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm

from .support import Daemon, State, Worker, eventually, make_kept, on_table, open_table, owner_pid


def claim(state: State, name: str, rows: list[tuple[Any, ...]], **options: Any) -> tuple[bool, list[Any]]:
    """In a worker: claim_table with rows to populate; (inherited, rows)."""
    table = state[name] = tm.claim_table(name, tm.create, populate=lambda fresh: fresh.insert(rows), **options)
    return table.inherited, sorted(table)


def test_the_first_claim_creates_and_populates_the_next_one_takes_over(daemon: Daemon) -> None:
    """An orphan is given as it is; create and populate are for what is not there."""
    first, second = Worker(), Worker()
    assert first.call(claim, "t", [(1, "a")]) == (False, [(1, "a")])
    first.call(on_table, "t", "insert", (2, "b"))
    first.kill()
    assert second.call(claim, "t", [(9, "z")]) == (True, [(1, "a"), (2, "b")])
    with tm.attach("t") as table:
        assert owner_pid(table) == second.pid
        assert table.info().heir == "manager"


def test_a_second_claim_is_refused_also_to_the_owner(daemon: Daemon) -> None:
    """While somebody alive owns it, whoever asks."""
    worker = Worker()
    worker.call(claim, "t", [(1, 2)])
    with pytest.raises(tm.TableOwnedError, match=rf"process {worker.pid}.*wait="):
        tm.claim_table("t", tm.create)
    with pytest.raises(tm.TableOwnedError, match="this process"):
        worker.call(claim, "t", [(1, 2)])


def test_a_claim_may_wait_in_line(daemon: Daemon) -> None:
    """As new_table does."""
    owner, standby = Worker(), Worker()
    owner.call(open_table, "t")
    standby.start(claim, "t", [], wait=None)
    owner.kill()
    assert standby.result() == (True, [])


def test_a_claim_consumes_its_transfer(daemon: Daemon) -> None:
    """It is in the table that is returned; as an event it would be told twice. monitor adds how the owner ended."""
    for monitor in (False, True):
        worker = Worker()
        worker.call(open_table, "t")
        worker.kill()
        table = tm.claim_table("t", tm.create, monitor=monitor)
        assert table.transfer is not None
        assert (table.transfer.from_.pid, table.transfer.reason) == (worker.pid, "heir")
        expected = [tm.OwnerDied("t", tm.Process(*_identity(table.transfer.from_), False), -9)] if monitor else []
        assert [event for event in tm.events(0.1) if not isinstance(event, tm.ManagerUp)] == expected
        table.drop()


def _identity(process: tm.Process) -> tuple[int, int]:
    return process.pid, process.start


def test_a_populate_that_raises_leaves_no_table(daemon: Daemon) -> None:
    """And its exception is the caller's; the next claim begins anew."""

    def populate(table: tm.Table) -> None:
        table.insert((1, 2))
        raise KeyError("no such source")

    with pytest.raises(KeyError, match="no such source"):
        tm.claim_table("t", tm.create, populate=populate)
    assert tm.tables() == []
    assert len(tm.claim_table("t", tm.create)) == 0


def test_who_is_killed_while_it_populates_leaves_no_table(daemon: Daemon, tmp_path: Path) -> None:
    """Nobody is ever given a table that is half populated."""
    worker, standby = Worker(), Worker()
    worker.start(populate_for_ever, "t", tmp_path / "begun")
    eventually((tmp_path / "begun").exists)
    standby.start(claim, "t", [(1, "whole")], wait=None)
    worker.signal(signal.SIGKILL)
    assert standby.result() == (False, [(1, "whole")])
    worker.kill()


def test_who_is_killed_before_it_populates_leaves_no_table(daemon: Daemon, tmp_path: Path) -> None:
    """Not even where its create names an heir: the table has none until it is populated."""
    worker, standby = Worker(), Worker()
    worker.start(create_and_stop, "t", tmp_path / "begun")
    eventually((tmp_path / "begun").exists)
    assert [info.heir for info in tm.tables()] == [None]
    standby.start(claim, "t", [(1, "whole")], wait=None)
    worker.kill()
    assert standby.result() == (False, [(1, "whole")])


def create_and_stop(state: State, name: str, begun: Path) -> None:
    """In a worker: a create that makes the table, and goes no further."""

    def create(name: str) -> tm.Table:
        made = tm.create(name, heir="manager", heir_data="word")
        begun.touch()
        signal.pause()
        return made

    tm.claim_table(name, create)


def populate_for_ever(state: State, name: str, begun: Path) -> None:
    """In a worker: a populate that never ends."""

    def populate(table: tm.Table) -> None:
        table.insert((1, "half"))
        begun.touch()
        signal.pause()

    tm.claim_table(name, tm.create, populate=populate)


def test_what_create_must_return(daemon: Daemon) -> None:
    """The new table of that name; all else is refused, and what create raises is the caller's."""
    with pytest.raises(TypeError, match="create must return"):
        tm.claim_table("t", lambda name: name)  # type: ignore[arg-type, return-value]  # what is tested
    with pytest.raises(ValueError, match="'other'"):
        tm.claim_table("t", lambda name: tm.create("other"))
    with pytest.raises(TypeError):
        tm.claim_table("t", {"type": "set"})  # type: ignore[arg-type]  # the same
    with pytest.raises(ZeroDivisionError):
        tm.claim_table("t", lambda name: 1 / 0)  # type: ignore[arg-type, return-value]  # the same
    assert [info.name for info in tm.tables()] == ["other"]


def test_the_heir_that_create_chose_does_not_count(daemon: Daemon) -> None:
    """A claimed table is the manager's to inherit."""
    table = tm.claim_table("t", lambda name: tm.create(name, heir=daemon.pid, access="private"), heir_data="word")
    info = table.info()
    assert (info.heir, info.access) == ("manager", "private")


def test_of_racing_claims_one_makes_the_table(daemon: Daemon) -> None:
    """The others are told whose it is."""
    workers = [Worker() for _ in range(5)]
    for worker in workers:
        worker.start(claim_outcome, "t")
    outcomes = [worker.result() for worker in workers]
    assert sorted(outcomes) == ["TableOwnedError"] * 4 + ["made"]


def claim_outcome(state: State, name: str) -> str:
    """In a worker: how claim_table ends."""
    try:
        claim(state, name, [(1, 2)])
    except tm.TableOwnedError:
        return "TableOwnedError"
    return "made"


def test_an_abandoned_table_goes_with_its_owner(daemon: Daemon) -> None:
    """And the name is free for another."""
    worker = Worker()
    worker.call(claim, "t", [(1, 2)])
    with pytest.raises(tm.NotOwnerError), tm.attach("t") as table:
        tm.abandon_table(table)
    worker.call(abandon, "t")
    with pytest.raises(tm.TableNotFoundError, match="not under management"):
        worker.call(abandon, "t")
    worker.kill()
    eventually(lambda: not tm.tables())
    assert not tm.claim_table("t", tm.create).inherited


def abandon(state: State, name: str) -> None:
    """In a worker: abandon a table."""
    tm.abandon_table(state[name])


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("/nonexistent/file",)


def open_with_unreadable_data(state: State, name: str) -> None:
    """In a worker: new_table with heir data that nobody can unpickle."""
    open_table(state, name, codec="pickle", heir_data=Unreadable())


@pytest.mark.parametrize("by_claim", [False, True], ids=["new_table", "claim_table"])
def test_data_that_cannot_be_unpickled_keep_no_table_from_its_heir(daemon: Daemon, by_claim: bool) -> None:
    """The table has come by then; who asks for the data gets the error."""
    worker = Worker()
    worker.call(open_with_unreadable_data, "t")
    worker.kill()
    if by_claim:
        table = tm.claim_table("t", tm.create, codec="pickle", wait=30)
    else:
        table = tm.new_table("t", codec="pickle", wait=30)
    assert table.inherited
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            _ = table.transfer


def test_heir_data_that_are_too_long_are_refused_before_anything_happens(daemon: Daemon) -> None:
    """The table stays with whoever has it, so that a second attempt gets it with what came with it."""
    make_kept(daemon, "t", heir_data="word")
    longest = "x" * 893  # with three bytes before it
    with pytest.raises(ValueError, match="896 bytes"):
        tm.new_table("t", heir_data=longest + "x")
    with tm.attach("t") as kept:
        assert owner_pid(kept) == daemon.pid
    table = tm.new_table("t", heir_data=longest)
    assert table.transfer is not None
    assert table.transfer.data == "word"
    tm.create("u", heir="manager", heir_data=longest)
    with pytest.raises(ValueError, match="896 bytes"):
        tm.claim_table("v", tm.create, heir_data=longest + "x")
    assert not [info for info in tm.tables() if info.name == "v"]


def test_a_populate_that_closes_the_table_leaves_none_either(daemon: Daemon) -> None:
    """Whether it raises or returns; and the next claim is as if there had been none."""

    def close_and_fail(fresh: tm.Table) -> None:
        fresh.insert((1, 2))
        fresh.close()
        raise KeyError("of populate")

    def rename_and_close(fresh: tm.Table) -> None:
        fresh.rename("another")
        fresh.close()

    with pytest.raises(KeyError, match="of populate"):
        tm.claim_table("t", tm.create, populate=close_and_fail)
    with pytest.raises(tm.TableClosedError):
        tm.claim_table("t", tm.create, populate=tm.Table.close)
    with pytest.raises(tm.TableClosedError):
        tm.claim_table("t", tm.create, populate=rename_and_close)
    assert tm.tables() == []
    assert list(tm.claim_table("t", tm.create)) == []
