"""Strategies, order and limits of restarts: what OTP's supervisor does, done to processes."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import Child, ChildExited, ChildStarted, Supervisor, TooManyRestartsError
from tablemgr.supervisor.events import Event

from .supervised import (
    Clock,
    FailingContext,
    count_starts,
    exit_with,
    idle,
    is_gone,
    note,
    notes,
    story,
    the_book,
    until,
    use,
    zombies_of_mine,
)
from .support import TIMEOUT, Daemon, Worker, eventually, open_table


@pytest.fixture(autouse=True)
def no_zombies() -> Iterator[None]:
    """Whatever a test does, its children have been waited for."""
    yield
    assert zombies_of_mine() == []


def kill(supervisor: Supervisor, *names: str) -> None:
    """SIGKILL; returns when they are dead, and before the supervisor knows."""
    pidfds = [os.pidfd_open(supervisor.processes()[name].pid) for name in names]
    for pidfd in pidfds:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], TIMEOUT)[0]
        os.close(pidfd)


@pytest.mark.parametrize(
    ("strategy", "after", "kept"),
    [
        ("one_for_one", "Exited b, Started b", "a c d"),
        ("one_for_all", "Exited b, Exited d, Exited c, Exited a, Started a, Started b, Started c, Started d", ""),
        ("rest_for_one", "Exited b, Exited d, Exited c, Started b, Started c, Started d", "a"),
    ],
)
def test_a_strategy_says_who_is_stopped_and_run_again(instance: str, strategy: Any, after: str, kept: str) -> None:
    """In the reverse order of start and in the order of start; it is one restart, and the others are left alone."""
    events: list[Event] = []
    children = [Child(name, idle, restart="transient" if name == "c" else "permanent") for name in "abcd"]
    with Supervisor(children, strategy, max_restarts=1, context="fork", on_event=events.append) as supervisor:
        assert story(events) == ["Started a", "Started b", "Started c", "Started d"]
        before = supervisor.processes()
        kill(supervisor, "b")
        until(supervisor, ChildStarted, 4 + after.count("Started"))
        assert ", ".join(story(events[4:])) == after
        now = supervisor.processes()
        assert list(now) == ["a", "b", "c", "d"]
        assert [name for name in now if now[name] == before[name]] == kept.split()


def test_restarts_are_those_of_otp_for_the_transient_and_the_temporary(instance: str) -> None:
    """A transient child that had ended well runs again with the others; a temporary one is stopped and forgotten."""
    events: list[Event] = []
    children = [
        Child("done", exit_with, (0,), restart="transient"),
        Child("once", idle, restart="temporary"),
        Child("main", idle),
    ]
    with Supervisor(children, "one_for_all", context="fork", on_event=events.append) as supervisor:
        until(supervisor, ChildExited)
        assert [status.name for status in supervisor.which_children()] == ["done", "once", "main"]
        kill(supervisor, "main")
        until(supervisor, ChildStarted, 2)
        assert story(events[4:]) == ["Exited main", "Exited once", "Started done", "Started main"]
        assert [status.name for status in supervisor.which_children()] == ["done", "main"]


def test_a_temporary_child_that_ends_is_forgotten(instance: str) -> None:
    """However it ended, whatever the strategy; the others are not concerned."""
    children = [Child("main", idle), Child("bad", exit_with, (3,), restart="temporary")]
    with Supervisor(children, "one_for_all", max_restarts=0, context="fork") as supervisor:
        (exited,) = until(supervisor, ChildExited)
        assert (exited.name, exited.exit) == ("bad", 3)
        assert supervisor.count_children() == {"specs": 1, "active": 1, "supervisors": 0, "workers": 1}


def test_deaths_noticed_together_are_one_restart_where_one_will_do(instance: str) -> None:
    """The first in order takes the other with it."""
    events: list[Event] = []
    children = [Child(name, idle) for name in "abc"]
    with Supervisor(children, "rest_for_one", 1, context="fork", on_event=events.append) as supervisor:
        kill(supervisor, "c", "a")
        until(supervisor, ChildStarted, 6)
        assert story(events[3:]) == ["Exited a", "Exited c", "Exited b", "Started a", "Started b", "Started c"]


def test_each_restart_of_one_for_one_counts(instance: str) -> None:
    """Two deaths are two restarts, and none is allowed after that."""
    children = [Child(name, idle) for name in "abc"]
    with Supervisor(children, "one_for_one", 2, TIMEOUT, context="fork") as supervisor:
        kill(supervisor, "a", "b")
        until(supervisor, ChildStarted, 5)
        kill(supervisor, "c")
        with pytest.raises(TooManyRestartsError, match=r"'c' died.* more than 2 restarts within 30 seconds"):
            list(supervisor.events(TIMEOUT))
        assert supervisor.processes() == {}


def test_no_restart_may_be_allowed_at_all(instance: str) -> None:
    """max_restarts=0: the first death ends it."""
    events: list[Event] = []
    children = [Child("a", idle), Child("b", exit_with, (0,)), Child("c", idle)]
    with pytest.raises(TooManyRestartsError):
        Supervisor(children, "one_for_all", 0, context="fork", on_event=events.append).run()
    assert story(events[3:]) == ["Exited b", "Exited c", "Exited a"]


def test_a_failure_is_raised_even_if_nobody_iterates_any_more(instance: str) -> None:
    """At the end of the with block; unless that is left by another exception."""
    with pytest.raises(TooManyRestartsError), Supervisor([Child("a", idle)], max_restarts=0, context="fork") as it:
        kill(it, "a")
        until(it, ChildExited)
    with pytest.raises(ZeroDivisionError), Supervisor([Child("a", idle)], max_restarts=0, context="fork") as it:
        kill(it, "a")
        until(it, ChildExited)
        raise ZeroDivisionError


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_start_that_fails_is_tried_again_and_counts(instance: str, strategy: Any) -> None:
    """One restart for the death, one for each failure; when it works, all is as it should be."""
    context = FailingContext()
    with Supervisor([Child(name, idle) for name in "abc"], strategy, 4, TIMEOUT, context=context) as supervisor:
        context.refusals = 2
        kill(supervisor, "b")
        until(supervisor, ChildStarted, 4)
        assert context.refusals == 0
        assert list(supervisor.processes()) == ["a", "b", "c"]
        context.refusals = 1  # the fifth restart would be one too many
        kill(supervisor, "c")
        with pytest.raises(TooManyRestartsError, match=r"'[ac]' could not be started \(no more processes\)") as failure:
            list(supervisor.events(TIMEOUT))
        assert isinstance(failure.value.__cause__, BlockingIOError)
        assert supervisor.processes() == {}


def test_a_stop_comes_before_another_try(instance: str) -> None:
    """What could not be started is not missed."""
    context = FailingContext()
    with Supervisor([Child("a", idle)], max_restarts=1000, max_seconds=TIMEOUT, context=context) as supervisor:
        context.refusals = 10
        kill(supervisor, "a")
        until(supervisor, ChildExited)
        (status,) = supervisor.which_children()
        assert (status.process, status.starts, status.exit) == (None, 1, -signal.SIGKILL)
        supervisor.request_stop()
        assert list(supervisor.events(TIMEOUT)) == []
    assert context.refusals == 9


def test_a_child_is_started_when_the_one_before_has_its_tables(daemon: Daemon) -> None:
    """So it may rely on them, also after a restart of both; no restart is spent on waiting for them."""
    children = [
        Child("owner", count_starts, tables={"starts": {"access": "public"}}),
        Child("user", use, ("starts",)),
    ]
    with the_book() as book, Supervisor(children, "one_for_all", max_restarts=1, context="fork") as supervisor:
        eventually(lambda: notes(book) == ["attached starts"])
        kill(supervisor, "owner")
        until(supervisor, ChildStarted, 4)
        eventually(lambda: notes(book) == ["attached starts"] * 2)
        assert list(supervisor.processes()) == ["owner", "user"]
    tm.drop("starts", force=True)


def test_a_standby_keeps_nobody_waiting(daemon: Daemon) -> None:
    """A child that may stand in line for its table is not waited for."""
    owner = Worker()
    owner.call(open_table, "starts")
    children = [Child("standby", count_starts, tables={"starts": {"wait": None}}), Child("next", note_and_idle)]
    with the_book() as book, Supervisor(children, context="fork") as supervisor:
        eventually(lambda: notes(book) == ["next runs"])
        owner.kill()
        until(supervisor, tm.TableHandedBack)
    tm.drop("starts", force=True)


def note_and_idle() -> None:
    """It runs."""
    note("next runs")
    idle()


@pytest.mark.parametrize(("strategy", "started"), [("one_for_one", "ab"), ("rest_for_one", "a"), ("one_for_all", "a")])
def test_nobody_is_started_after_one_that_did_not_get_its_tables(daemon: Daemon, strategy: Any, started: str) -> None:
    """Where those after it depend on it: they are started by its restart, or, here, never."""
    owner = Worker()
    owner.call(open_table, "starts")
    events: list[Event] = []
    children = [Child("a", count_starts, tables={"starts": {}}), Child("b", idle)]
    with pytest.raises(TooManyRestartsError):
        Supervisor(children, strategy, 1, TIMEOUT, context="fork", on_event=events.append).run()
    assert {event.name for event in events if isinstance(event, ChildStarted)} == set(started)


def test_a_restart_window_slides(instance: str, clock: Clock) -> None:
    """More than max_restarts in any max_seconds are too many, not more than that between two full stops."""
    with Supervisor([Child("c", idle)], max_restarts=1, max_seconds=10, context="fork") as supervisor:
        for _ in range(4):
            clock.now += 10.1
            kill(supervisor, "c")
            until(supervisor, ChildStarted)
        clock.now += 9.9
        kill(supervisor, "c")
        with pytest.raises(TooManyRestartsError):
            list(supervisor.events(TIMEOUT))


# -- children that come and go -----------------------------------------------------------------------------------------


def test_children_can_be_added_stopped_run_again_and_removed(instance: str) -> None:
    """As OTP's functions of these names do."""
    events: list[Event] = []
    with Supervisor([Child("a", idle)], "rest_for_one", context="fork", on_event=events.append) as supervisor:
        process = supervisor.start_child(Child("b", idle, restart="transient"))
        assert supervisor.processes()["b"] == process
        with pytest.raises(ValueError, match="same name: 'b'"):
            supervisor.start_child(Child("b", idle))
        for method in (supervisor.restart_child, supervisor.delete_child):
            with pytest.raises(RuntimeError, match="'b' runs"):
                method("b")
            with pytest.raises(LookupError, match=r"'x'.*a, b"):
                method("x")
        with pytest.raises(LookupError):
            supervisor.terminate_child("x")
        supervisor.terminate_child("b")
        assert is_gone(process.pid)
        supervisor.terminate_child("b")
        (a, b) = supervisor.which_children()
        assert (a.name, a.process, a.starts, a.exit) == ("a", supervisor.processes()["a"], 1, None)
        assert (b.name, b.process, b.starts, b.exit) == ("b", None, 1, -signal.SIGTERM)
        assert supervisor.restart_child("b").pid != process.pid
        supervisor.terminate_child("b")
        kill(supervisor, "a")  # a restart that extends to b runs it again
        until(supervisor, ChildStarted, 5)
        assert list(supervisor.processes()) == ["a", "b"]
        supervisor.terminate_child("b")
        supervisor.delete_child("b")
        assert list(supervisor.processes()) == ["a"]
    said = ["Started a", "Started b", "Exited b", "Started b", "Exited b", "Exited a", "Started a", "Started b"]
    assert story(events) == [*said, "Exited b", "Exited a"]


def test_a_temporary_child_cannot_be_run_again(instance: str) -> None:
    """It is forgotten when it is stopped."""
    with Supervisor([], context="fork") as supervisor:
        supervisor.start_child(Child("t", idle, restart="temporary"))
        supervisor.terminate_child("t")
        assert supervisor.which_children() == []
        with pytest.raises(LookupError, match="none"):
            supervisor.restart_child("t")


def test_a_child_that_cannot_be_started_is_not_added(instance: str) -> None:
    """The error is the caller's."""
    context = FailingContext()
    with Supervisor([], context=context) as supervisor:
        context.refusals = 1
        with pytest.raises(BlockingIOError):
            supervisor.start_child(Child("a", idle))
        assert supervisor.which_children() == []
        supervisor.start_child(Child("a", idle))


def test_nothing_can_be_done_to_the_children_of_a_supervisor_that_does_not_run(instance: str) -> None:
    """It says so."""
    supervisor = Supervisor([Child("a", idle)], context="fork")
    with pytest.raises(RuntimeError, match="start"):
        supervisor.terminate_child("a")
    with pytest.raises(RuntimeError, match="start"):
        supervisor.start_child(Child("b", idle))
    assert [status.name for status in supervisor.which_children()] == ["a"]
