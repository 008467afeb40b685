"""Registered names: given once, gone with the process, good as heirs and receivers, with or without a manager."""

from __future__ import annotations

import os
import signal

import pytest

import tablemgr as tm
from tablemgr import names

from .support import Daemon, State, Worker, eventually, open_table, owner_pid
from .test_events import attach_and, create, events, shown


def register(state: State, name: str) -> None:
    """In a worker: take a name."""
    tm.Client().register(name)


def outcome(state: State, name: str) -> str:
    """In a worker: how register ends."""
    try:
        tm.register(name)
    except ValueError as error:
        return str(error)
    return "mine"


def pid_of(name: str) -> int | None:
    """Whose the name is."""
    found = tm.whereis(name)
    return None if found is None else found.pid


def test_a_name_is_found_and_gone_with_its_process(instance: str) -> None:
    """No manager is needed."""
    worker = Worker()
    assert tm.whereis("worker") is None
    worker.call(register, "worker")
    found = tm.whereis("worker")
    assert found is not None
    assert (found.pid, found.alive) == (worker.pid, True)
    worker.kill()
    assert tm.whereis("worker") is None


def test_a_name_is_free_again_at_once(instance: str) -> None:
    """Also while the dead process has not been waited for; a stopped one keeps it."""
    first, second = Worker(), Worker()
    first.call(register, "worker")
    first.signal(signal.SIGSTOP)
    assert f"process {first.pid}" in second.call(outcome, "worker")
    first.signal(signal.SIGKILL)
    eventually(lambda: tm.whereis("worker") is None)
    assert second.call(outcome, "worker") == "mine"
    assert pid_of("worker") == second.pid


def test_of_many_that_ask_one_gets_the_name(instance: str) -> None:
    """And those that have it already may ask again."""
    workers = [Worker() for _ in range(6)]
    for worker in workers:
        worker.start(outcome, "the one")
    outcomes = {worker.pid: worker.result() for worker in workers}
    (winner,) = [pid for pid, answer in outcomes.items() if answer == "mine"]
    assert pid_of("the one") == winner
    assert {worker.call(outcome, "the one") for worker in workers if worker.pid == winner} == {"mine"}


def test_a_forked_child_has_not_its_parents_name(instance: str) -> None:
    """It is another process."""
    tm.register("parent")
    child = Worker()
    assert f"process {os.getpid()}" in child.call(outcome, "parent")
    child.kill()
    assert pid_of("parent") == os.getpid()


def test_a_process_may_have_several_names_and_instances_share_none(instance: str) -> None:
    """A name means something in its instance."""
    tm.register("a")
    tm.register("b")
    assert pid_of("a") == pid_of("b") == os.getpid()
    assert tm.whereis("a", instance=f"{instance}-other") is None


def test_names_outlive_managers(daemon: Daemon) -> None:
    """They are not the manager's."""
    worker = Worker()
    worker.call(register, "worker")
    daemon.kill()
    assert pid_of("worker") == worker.pid
    daemon.start()
    assert pid_of("worker") == worker.pid


def test_a_name_is_an_heir_and_a_receiver(daemon: Daemon) -> None:
    """The process that has it when it is named."""
    heir, owner = Worker(), Worker()
    heir.call(register, "heir")
    owner.call(open_table, "t", heir="heir")
    with tm.attach("t") as table:
        assert table.info().heir == tm.whereis("heir")
        owner.kill()
        eventually(lambda: owner_pid(table) == heir.pid)
    third = Worker()
    third.call(register, "third")
    heir.call(attach_and, "t", "give_away", "third", "word")
    assert shown(third.call(events, least=1)) == [("transfer", "t", heir.pid, "gift", "word")]


@pytest.mark.parametrize("how", ["create", "give_away", "setopts", "new_table"])
def test_an_unknown_name_is_a_lookup_error(daemon: Daemon, how: str) -> None:
    """Before anything happens."""
    with pytest.raises(LookupError, match="nobody"):
        if how == "create":
            tm.create("t", heir="nobody")
        elif how == "new_table":
            tm.new_table("t", heir="nobody")
        elif how == "give_away":
            tm.create("t").give_away("nobody")
        else:
            tm.create("t").setopts(heir="nobody")


def test_a_dead_processs_name_is_unknown(instance: str) -> None:
    """So nobody is made heir who could not inherit."""
    worker = Worker()
    worker.call(register, "worker")
    worker.kill()
    with pytest.raises(LookupError, match="worker"):
        Worker().call(create, "t", heir="worker")


@pytest.mark.parametrize("name", ["", "x" * 256, "nul\0", "\ud800", 7, None, b"t", "manager"])
def test_names_that_cannot_be_are_refused(instance: str, name: object) -> None:
    """Clearly."""
    with pytest.raises((TypeError, ValueError)):
        tm.register(name)  # type: ignore[arg-type]  # what is tested


def test_names_leave_nothing_behind(instance: str, no_traces: None) -> None:
    """The last one that goes, or whoever looks next, takes the file away."""
    worker = Worker()
    worker.call(register, "worker")
    worker.kill()
    names.tidy(instance)
