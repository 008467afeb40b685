"""Owners die, the manager inherits, and whoever claims the table gets it with every row."""

import signal
import time
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr._ffi import MAP_HEAD, Handle
from tablemgr.segment_names import segment_name

from .support import (
    Daemon,
    Worker,
    claim_error,
    eventually,
    in_line,
    line_length,
    make_kept,
    on_table,
    open_table,
    owner_pid,
    rows,
    until_equal,
)


def fill(worker: Worker, name: str, count: int = 100) -> list[tuple[int, str]]:
    """Insert rows through the worker; returns them."""
    written = [(i, f"row {i}") for i in range(count)]
    worker.call(on_table, name, "insert", written)
    return written


def test_a_fresh_table_is_not_inherited(daemon: Daemon) -> None:
    """new_table creates what is not there, owned by the caller, with the manager as heir."""
    worker = Worker()
    assert worker.call(open_table, "t") == (False, None)
    with tm.attach("t") as table:
        info = table.info()
        assert info.owner is not None
        assert (info.owner.pid, info.owner.alive) == (worker.pid, True)
        assert info.heir == "manager"


def test_the_manager_inherits_when_the_owner_is_killed(daemon: Daemon) -> None:
    """Without anybody's asking, the manager becomes the owner; readers of the table notice nothing."""
    worker = Worker()
    worker.call(open_table, "t")
    written = fill(worker, "t")
    with tm.attach("t") as table:
        worker.kill()
        eventually(lambda: owner_pid(table) == daemon.pid)
        assert sorted(table) == written


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_restarted_worker_gets_all_its_rows(daemon: Daemon, method: str) -> None:
    """Killed and started again, however processes are started, it finds what it wrote, and is told that it did."""
    first = Worker(method)
    first.call(open_table, "t", access="public")
    written = fill(first, "t")
    first.kill()
    second = Worker(method)
    assert second.call(open_table, "t") == (True, "heir")
    assert second.call(rows, "t") == written
    with tm.attach("t") as table:
        assert owner_pid(table) == second.pid
        assert table.info().heir == "manager"


def test_the_transfer_says_who_when_and_with_what_word(daemon: Daemon) -> None:
    """It names the dead predecessor, not the manager that kept the table, and hands on its word to the heir."""
    first = Worker()
    first.call(open_table, "t", heir_data={"left": ["at", 7]})
    before = time.time()
    first.kill()
    with tm.new_table("t") as table:
        assert table.inherited
        assert table.transfer is not None
        assert table.transfer.name == "t"
        assert (table.transfer.from_.pid, table.transfer.from_.alive) == (first.pid, False)
        assert table.transfer.reason == "heir"
        assert table.transfer.data == {"left": ["at", 7]}
        assert before - 1 <= table.transfer.when <= time.time() + 1


def test_the_predecessor_is_known_across_managers(daemon: Daemon) -> None:
    """However many managers kept the table in between, and whichever of them was killed."""
    first = make_kept(daemon, "t", heir_data="word")
    for _ in range(3):
        daemon.kill()
        daemon.start()
        with tm.attach("t") as table:
            assert owner_pid(table) == daemon.pid
    with tm.new_table("t") as table:
        assert table.transfer is not None
        assert (table.transfer.from_.pid, table.transfer.reason, table.transfer.data) == (first, "heir", "word")


def test_a_successor_is_never_told_that_a_dead_process_owns_its_table(daemon: Daemon) -> None:
    """Asked right after the kill, before the manager can have heard of it, the table is handed over all the same."""
    for turn in range(25):
        worker = Worker()
        assert worker.call(open_table, "t") == ((True, "heir") if turn else (False, None))
        worker.call(on_table, "t", "insert", (turn, "x"))
        worker.kill()
    with tm.new_table("t") as table:
        assert len(table) == 25


def test_new_table_twice_by_the_same_process_is_the_same_table(daemon: Daemon) -> None:
    """The owner may ask again; it is no inheritance."""
    with tm.new_table("t") as table, tm.new_table("t") as again:
        table.insert((1, 2))
        assert again.lookup(1) == [(1, 2)]
        assert not again.inherited
        assert again.transfer is None


def test_a_live_owner_is_named(daemon: Daemon) -> None:
    """Asking for somebody's table is an error that says whose it is and what to do."""
    worker = Worker()
    worker.call(open_table, "t")
    with pytest.raises(tm.TableOwnedError, match=rf"'t'.*process {worker.pid}.*wait="):
        tm.new_table("t")


def test_of_racing_claimants_exactly_one_gets_the_orphan(daemon: Daemon) -> None:
    """Many at once: one has it, the others are told who."""
    owner = Worker()
    owner.call(open_table, "t")
    written = fill(owner, "t")
    claimants = [Worker() for _ in range(6)]
    owner.kill()
    for claimant in claimants:
        claimant.start(claim_error, "t")
    outcomes = {claimant.pid: claimant.result() for claimant in claimants}
    winners = [pid for pid, outcome in outcomes.items() if outcome == "no error"]
    assert len(winners) == 1
    losers = [outcome for outcome in outcomes.values() if outcome != "no error"]
    assert all(f"TableOwnedError: new_table: table 't' is owned by process {winners[0]}" in loser for loser in losers)
    with tm.attach("t") as table:
        assert sorted(table) == written


def test_of_racing_creators_exactly_one_creates(daemon: Daemon) -> None:
    """The same where there was no table."""
    claimants = [Worker() for _ in range(6)]
    for claimant in claimants:
        claimant.start(claim_error, "t")
    outcomes = [claimant.result() for claimant in claimants]
    assert outcomes.count("no error") == 1
    assert all(outcome == "no error" or "TableOwnedError" in outcome for outcome in outcomes)


@pytest.mark.parametrize(
    "options", [{"keypos": 1}, {"codec": "pickle"}, {"keypos": 1, "wait": None}], ids=["keypos", "codec", "waiting"]
)
def test_asking_for_another_kind_of_table_is_an_error(daemon: Daemon, options: dict[str, object]) -> None:
    """An orphan stays an orphan when who asks expects another key position or codec."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.kill()
    with pytest.raises(tm.TableMismatchError, match="'t'"):
        tm.new_table("t", **options)  # type: ignore[arg-type]  # options of a test
    assert tm.new_table("t").inherited


def test_a_table_without_heir_goes_with_its_owner(daemon: Daemon) -> None:
    """The manager drops it, and the next new_table makes a new one."""
    worker = Worker()
    worker.call(open_table, "t", heir=None)
    worker.call(on_table, "t", "insert", (1, 2))
    worker.kill()
    eventually(lambda: not tm.tables())
    with tm.new_table("t") as table:
        assert not table.inherited
        assert len(table) == 0


def test_a_live_heir_process_gets_the_table_not_the_manager(daemon: Daemon) -> None:
    """The heir that the owner named comes first; it finds itself the owner."""
    heir, owner = Worker(), Worker()
    owner.call(open_table, "t", heir=heir.pid, heir_data="yours")
    owner.kill()
    with tm.attach("t") as table:
        eventually(lambda: owner_pid(table) == heir.pid)
    assert heir.call(open_table, "t") == (True, "heir")


def test_a_table_whose_heir_died_first_falls_to_the_manager(daemon: Daemon) -> None:
    """A dead heir is no heir; nothing is lost."""
    heir, owner = Worker(), Worker()
    owner.call(open_table, "t", heir=heir.pid)
    heir.kill()
    owner.kill()
    with tm.attach("t") as table:
        eventually(lambda: owner_pid(table) == daemon.pid)


def test_tables_made_without_the_manager_are_adopted(daemon: Daemon) -> None:
    """tm.create with the manager as heir needs no word to it: it finds the table in its next round."""
    make_kept(daemon, "t", create_table)
    assert tm.new_table("t").inherited


def create_table(state: dict[str, object], name: str) -> None:
    """In a worker: a table of its own making."""
    state[name] = tm.create(name, heir="manager")


def owner_word(handle: Handle) -> int:
    """The owner's pid."""
    return handle.describe().owner[0]


def test_tables_of_one_death_move_in_the_order_of_their_creation(daemon: Daemon, instance: str) -> None:
    """Whatever their names, the oldest is inherited first."""
    worker = Worker()
    names = ["c", "a", "d", "b"]
    for name in names:
        worker.call(open_table, name)
    worker.kill()
    handles = [Handle.attach(segment_name(instance, name), MAP_HEAD) for name in names]
    for handle in handles:
        until_equal(daemon.pid, owner_word, handle)
    moments = [handle.describe().transfer_ns for handle in handles]
    for handle in handles:
        handle.close()
    assert moments == sorted(moments)


def test_a_waiter_is_handed_the_table_when_the_owner_is_killed(daemon: Daemon, instance: str) -> None:
    """wait= makes a hot standby."""
    owner, standby = Worker(), Worker()
    owner.call(open_table, "t")
    written = fill(owner, "t")
    standby.start(open_table, "t", wait=None)
    eventually(lambda: in_line(instance) == [("t", standby.pid)])
    assert not standby.has_result()
    owner.kill()
    assert standby.result() == (True, "heir")
    assert standby.call(rows, "t") == written
    assert in_line(instance) == []


def test_the_line_is_served_in_order(daemon: Daemon, instance: str) -> None:
    """First come, first served; who died in the line is passed over."""
    line = [Worker() for _ in range(4)]
    line[0].call(open_table, "t")
    for n, worker in enumerate(line[1:], 1):
        worker.start(open_table, "t", wait=60)
        until_equal(n, line_length, instance)
    assert in_line(instance) == [("t", worker.pid) for worker in line[1:]]
    line[2].kill()
    eventually(lambda: len(in_line(instance)) == 2)
    line[0].kill()
    assert line[1].result() == (True, "heir")
    assert not line[3].has_result()
    line[1].kill()
    assert line[3].result() == (True, "heir")


def test_waiting_ends_when_its_time_is_over(daemon: Daemon, instance: str) -> None:
    """Then it is as if nobody had waited: the error says who owns it, and the line is empty."""
    worker = Worker()
    worker.call(open_table, "t")
    begun = time.monotonic()
    with pytest.raises(tm.TableOwnedError):
        tm.new_table("t", wait=0.3)
    assert 0.3 <= time.monotonic() - begun < 5
    assert in_line(instance) == []


def test_a_waiter_creates_the_table_when_it_was_dropped(daemon: Daemon, instance: str) -> None:
    """What it waited for is gone: the first in line makes it anew, the second waits for the first."""
    owner, first, second = Worker(), Worker(), Worker()
    owner.call(open_table, "t")
    for n, worker in enumerate((first, second), 1):
        worker.start(open_table, "t", wait=60)
        until_equal(n, line_length, instance)
    owner.call(on_table, "t", "drop")
    assert first.result() == (False, None)
    eventually(lambda: in_line(instance) == [("t", second.pid)])
    written = fill(first, "t")
    first.kill()
    assert second.result() == (True, "heir")
    assert second.call(rows, "t") == written
    mapped = [line for line in Path(f"/proc/{second.pid}/maps").read_text().splitlines() if "/tablemgr." in line]
    assert mapped
    assert not any("(deleted)" in line for line in mapped), "nothing is held of the table that it saw first"


def test_a_stopped_owner_keeps_its_table(daemon: Daemon) -> None:
    """SIGSTOP is not death."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.signal(signal.SIGSTOP)
    with pytest.raises(tm.TableOwnedError):
        tm.new_table("t", wait=0.2)
    worker.signal(signal.SIGCONT)
    assert worker.call(rows, "t") == []


def test_a_gift_to_a_process_ends_with_the_manager_when_that_dies(daemon: Daemon) -> None:
    """give_away moves the watch too: the new owner's death is what counts."""
    first, second = Worker(), Worker()
    first.call(open_table, "t")
    first.call(on_table, "t", "give_away", second.pid)
    assert second.call(open_table, "t") == (True, "gift")
    first.kill()
    with tm.attach("t") as table:
        assert owner_pid(table) == second.pid
        second.kill()
        eventually(lambda: owner_pid(table) == daemon.pid)


@pytest.mark.parametrize("wait", [-1, float("nan"), "1", True])
def test_a_senseless_wait_is_refused(daemon: Daemon, wait: object) -> None:
    """Before anything happens."""
    with pytest.raises((TypeError, ValueError), match="wait"):
        tm.new_table("t", wait=wait)  # type: ignore[arg-type]  # what is tested
    assert not tm.tables()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "naïve ☃", "x" * 100, "new\nline", "%41", "t.u"])
def test_odd_names_are_names(daemon: Daemon, name: str) -> None:
    """A table is handed back under exactly its name."""
    worker = Worker()
    worker.call(open_table, name)
    worker.kill()
    table = tm.new_table(name)
    assert table.inherited
    assert [info.name for info in tm.tables()] == [name]
    table.drop()


@pytest.mark.parametrize("name", ["", "x" * 300, "nul\0", "\ud800", 7, None, b"t"])
def test_names_that_cannot_be_are_refused(daemon: Daemon, name: object) -> None:
    """Clearly, and without a trace at the manager."""
    with pytest.raises((TypeError, ValueError)):
        tm.new_table(name)  # type: ignore[arg-type]  # what is tested
    with pytest.raises((TypeError, ValueError)):
        tm.del_table(name)  # type: ignore[arg-type]  # the same


def test_an_heir_that_dies_while_the_claimant_waits_leaves_the_manager(daemon: Daemon) -> None:
    """The call does not fail with the table in hand: a dead heir means the manager, as it does later on."""
    owner, heir, claimant = Worker(), Worker(), Worker()
    owner.call(open_table, "t")
    claimant.start(open_table, "t", wait=None, heir=heir.pid, heir_data="word")
    eventually(lambda: in_line(daemon.instance))
    heir.kill()
    owner.kill()
    assert claimant.result() == (True, "heir")
    with tm.attach("t") as table:
        assert (owner_pid(table), table.info().heir) == (claimant.pid, "manager")
    claimant.kill()
    transfer = tm.new_table("t").transfer
    assert transfer is not None
    assert transfer.data == "word"


def test_a_dead_heir_is_refused_before_anything_happens(daemon: Daemon) -> None:
    """Also one that nobody has waited for yet."""
    owner, heir = Worker(), Worker()
    owner.call(open_table, "t")
    heir.signal(signal.SIGKILL)
    heir.await_end()
    with pytest.raises(LookupError, match="not alive"):
        tm.new_table("t", heir=heir.pid)
