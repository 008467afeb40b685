"""Supervised workers: brought back with their tables, stopped in order, never left behind."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import Child, Supervisor
from tablemgr.supervisor.events import ChildExited, ChildStarted, Event, TableHandedBack, TooManyRestartsError
from tablemgr.supervisor.worker import takes_tables

from .supervised import (
    METHODS,
    Clock,
    count_starts,
    exit_with,
    idle,
    is_dead,
    is_gone,
    start,
    until,
    zombies_of_mine,
)
from .support import TIMEOUT, Daemon, Worker, claim_error, eventually, open_table, until_equal

# -- what the children do ----------------------------------------------------------------------------------------------


def ignore_sigterm(**_: Any) -> None:
    """Refuse to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(os.environ["TABLEMGR_TEST_FILE"]).write_text("ready")
    idle()


def note_end(path: str, name: str) -> None:
    """At SIGTERM, add the name to a file."""

    def end(*_: Any) -> None:
        with Path(path).open("a") as file:
            file.write(f"{name}\n")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    Path(f"{path}.{name}").touch()
    idle()


def count_by_name(step: int, /, *, limit: int = 10) -> None:
    """Takes no tables: note that it was started, in the one that this process owns."""
    tm.new_table("starts", access="public").update_counter("n", step, ("n", 0))
    signal.pause()


@functools.wraps(count_by_name)
def count_wrapped(*args: Any, **kwargs: Any) -> None:
    """What a decorator makes of it."""
    count_by_name(*args, **kwargs)


@functools.wraps(count_by_name)
def count_given(step: int, tables: dict[str, tm.Table]) -> None:
    """What a decorator makes of it that takes the tables itself."""
    tables["starts"].update_counter("n", step, ("n", 0))
    signal.pause()


class Counter:
    """Objects that count, called or by a method."""

    def __call__(self, step: int) -> None:
        count_by_name(step)

    def count(self, step: int, **tables: Any) -> None:
        count_given(step, **tables)


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> str:
    """Every way of starting processes."""
    return str(request.param)


# -- tests -------------------------------------------------------------------------------------------------------------


def test_a_killed_child_comes_back_with_its_tables_in_hand(daemon: Daemon, context: str) -> None:
    """Every row its predecessors wrote is there before its target runs, and the events tell the story."""
    child = Child("counter", count_starts, tables={"starts": {"access": "public"}})
    events: list[Event] = []
    with Supervisor([child], max_restarts=10, context=context, on_event=events.append) as supervisor:
        (first,) = until(supervisor, TableHandedBack)
        assert (first.child, first.table, first.transfer, first.latency) == ("counter", "starts", None, None)
        table = tm.attach("starts")
        for turn in range(1, 4):
            until_equal([("n", turn)], table.lookup, "n")
            pid = supervisor.processes()["counter"].pid
            os.kill(pid, signal.SIGKILL)
            (handed,) = until(supervisor, TableHandedBack)
            assert handed.transfer is not None
            assert handed.transfer.reason == "heir"
            assert 0 < handed.latency < TIMEOUT
            assert supervisor.processes()["counter"].pid != pid
        eventually(lambda: table.lookup("n") == [("n", 4)])
        table.close()
    kinds = [type(event) for event in events]
    assert kinds == [*[ChildStarted, TableHandedBack, ChildExited] * 3, ChildStarted, TableHandedBack, ChildExited]
    exits = [event.exit for event in events if isinstance(event, ChildExited)]
    assert exits == [-signal.SIGKILL] * 3 + [-signal.SIGTERM]
    assert [event.restarts for event in events if isinstance(event, ChildStarted)] == [0, 1, 2, 3]
    whens = [event.when for event in events]
    assert time.time() - 60 < whens[0]
    tm.drop("starts", force=True)


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("/nonexistent/file",)


def test_data_that_cannot_be_unpickled_keep_no_table_from_a_child(daemon: Daemon) -> None:
    """It has the table; the event tells from whom, and no data."""
    options = {"access": "public", "codec": "pickle", "heir_data": Unreadable()}
    with Supervisor([Child("counter", count_starts, tables={"starts": options})], context="fork") as supervisor:
        until(supervisor, TableHandedBack)
        with tm.attach("starts", codec="pickle") as table:
            until_equal([("n", 1)], table.lookup, "n")
            os.kill(supervisor.processes()["counter"].pid, signal.SIGKILL)
            (handed,) = until(supervisor, TableHandedBack)
            assert handed.transfer is not None
            assert (handed.transfer.reason, handed.transfer.data) == ("heir", None)
            until_equal([("n", 2)], table.lookup, "n")
    tm.drop("starts", force=True)


def test_one_childs_death_concerns_that_child_alone(instance: str) -> None:
    """one_for_one."""
    with Supervisor([Child("a", idle), Child("b", idle)], context="fork") as supervisor:
        before = supervisor.processes()
        os.kill(before["a"].pid, signal.SIGKILL)
        until(supervisor, ChildStarted, 3)
        after = supervisor.processes()
        assert after["b"] == before["b"]
        assert after["a"].pid != before["a"].pid


@pytest.mark.parametrize(
    ("restart", "code", "starts"),
    [
        ("permanent", 0, 3),
        ("permanent", 1, 3),
        ("transient", 0, 1),
        ("transient", 1, 3),
        ("temporary", 0, 1),
        ("temporary", 1, 1),
    ],
)
def test_restart_says_when_a_child_is_run_again(instance: str, restart: Any, code: int, starts: int) -> None:
    """Always, unless it ended well, or never."""
    events: list[Event] = []
    child = Child("c", exit_with, (code,), restart=restart)
    supervisor = Supervisor([child], max_restarts=2, max_seconds=TIMEOUT, context="fork", on_event=events.append)
    with contextlib.nullcontext() if starts == 1 else pytest.raises(TooManyRestartsError):
        supervisor.run()
    assert [type(event) for event in events] == [ChildStarted, ChildExited] * starts
    assert {event.exit for event in events if isinstance(event, ChildExited)} == {code}


def test_too_many_restarts_stop_all_and_raise(instance: str, context: str) -> None:
    """The one that dies too often takes the others with it; the iteration yields what happened before it raises."""
    events: list[Event] = []
    children = [Child("steady", idle), Child("broken", exit_with, (3,))]
    with Supervisor(children, max_restarts=1, max_seconds=TIMEOUT, context=context) as supervisor:
        processes = supervisor.processes()
        with pytest.raises(TooManyRestartsError, match=r"'broken'.*1 restarts within"):
            events.extend(supervisor.events(TIMEOUT))
        assert supervisor.processes() == {}
    assert is_gone(processes["steady"].pid)
    assert issubclass(TooManyRestartsError, tm.TableError)


def test_restarts_long_ago_do_not_count(instance: str, clock: Clock) -> None:
    """Only those within max_seconds."""
    supervisor = Supervisor([Child("c", idle)], max_restarts=1, max_seconds=10, context="fork")
    with supervisor:
        for _ in range(4):
            os.kill(supervisor.processes()["c"].pid, signal.SIGKILL)
            until(supervisor, ChildExited)
            clock.now += 10.1
            until(supervisor, ChildStarted)


def test_children_are_stopped_in_the_reverse_order(instance: str, tmp_path: Path) -> None:
    """One after the other, each with SIGTERM, each given the time to end in order."""
    path = tmp_path / "ends"
    children = [Child(name, note_end, (str(path), name)) for name in "abc"]
    with Supervisor(children, context="fork") as supervisor:
        for name in "abc":
            eventually((tmp_path / f"ends.{name}").exists)
        processes = supervisor.processes()
    assert path.read_text().split() == ["c", "b", "a"]
    assert all(is_gone(process.pid) for process in processes.values())
    exits = {event.name: event.exit for event in supervisor.events() if isinstance(event, ChildExited)}
    assert exits == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize("shutdown", [0.2, 0])
def test_a_child_that_does_not_end_is_killed(
    instance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shutdown: float
) -> None:
    """After `shutdown` seconds, or at once if that is 0."""
    monkeypatch.setenv("TABLEMGR_TEST_FILE", str(tmp_path / "ready"))
    with Supervisor([Child("stubborn", ignore_sigterm, shutdown=shutdown)], context="fork") as supervisor:
        eventually((tmp_path / "ready").exists)
        begun = time.monotonic()
        supervisor.stop()
        assert shutdown <= time.monotonic() - begun < TIMEOUT / 2
    (ended,) = [event for event in supervisor.events() if isinstance(event, ChildExited)]
    assert ended.exit == -signal.SIGKILL


@pytest.mark.parametrize(
    "target",
    [count_by_name, count_wrapped, count_given, functools.partial(count_by_name, limit=3), Counter(), Counter().count],
    ids=lambda target: getattr(target, "__name__", type(target).__name__),
)
def test_a_target_gets_its_tables_where_it_can_take_them(daemon: Daemon, target: Any) -> None:
    """Any other has them by name: they are its process's before it runs, every time it is started."""
    child = Child("counter", target, (1,), tables={"starts": {"access": "public"}})
    with Supervisor([child], max_restarts=2, context="fork") as supervisor:
        for turn in (1, 2):
            (handed,) = until(supervisor, TableHandedBack)
            assert (handed.transfer is None) == (turn == 1)
            with tm.attach("starts") as table:
                until_equal([("n", turn)], table.lookup, "n")
                owner = table.info().owner
            assert owner == supervisor.processes()["counter"]
            os.kill(owner.pid, signal.SIGKILL)
    tm.drop("starts", force=True)


def test_who_takes_tables_is_told_by_the_signature() -> None:
    """By name or as any keyword; where no signature is to be had, they are given."""

    def named(tables: object) -> None: ...
    def any_keywords(**kwargs: object) -> None: ...
    def by_position(tables: object, /) -> None: ...
    def none(*tables: object) -> None: ...

    assert [takes_tables(one) for one in (named, any_keywords, by_position, none)] == [True, True, False, False]
    assert takes_tables(functools.partial(named, tables={}))
    assert not takes_tables(signal.pause)
    assert takes_tables(type)  # it has no signature


def test_a_stopped_child_is_killed_too(instance: str) -> None:
    """SIGSTOP keeps it from ending by SIGTERM, but not by SIGKILL."""
    with Supervisor([Child("stopped", idle, shutdown=0.1)], context="fork") as supervisor:
        (process,) = supervisor.processes().values()
        os.kill(process.pid, signal.SIGSTOP)
    assert is_gone(process.pid)


def test_a_stop_can_be_requested_from_a_signal_handler(instance: str) -> None:
    """The iteration ends when the children have."""
    with Supervisor([Child("c", idle)], context="fork") as supervisor:
        before = signal.signal(signal.SIGALRM, lambda *_: supervisor.request_stop())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            events = list(supervisor.events(TIMEOUT))
        finally:
            signal.signal(signal.SIGALRM, before)
        assert [type(event) for event in events] == [ChildStarted, ChildExited]
        assert supervisor.processes() == {}


def test_events_end_after_silence_and_can_be_taken_up_again(instance: str) -> None:
    """A timeout is no end."""
    with Supervisor([Child("c", idle)], context="fork") as supervisor:
        assert [type(event) for event in supervisor.events(0.01)] == [ChildStarted]
        assert list(supervisor.events(0.01)) == []
        os.kill(supervisor.processes()["c"].pid, signal.SIGKILL)
        assert until(supervisor, ChildExited)


def test_children_do_not_outlive_a_supervisor_that_is_killed(instance: str) -> None:
    """Nobody would be left to stop them."""
    host = Worker()
    processes = host.call(start, [Child("a", idle), Child("b", idle, shutdown=0.1)])
    host.kill()
    for process in processes.values():
        until_equal(True, is_dead, process.pid)


def test_a_new_supervisor_takes_over_from_one_that_was_killed(daemon: Daemon) -> None:
    """Its child gets the table of the old one's child, with a wait for that to end."""
    child = Child("counter", count_starts, tables={"starts": {"access": "public", "wait": TIMEOUT}})
    host = Worker()
    host.call(start, [child])
    table = eventually(lambda: _attached("starts"))
    eventually(lambda: table.lookup("n") == [("n", 1)])
    host.kill()
    with Supervisor([child], context="fork") as supervisor:
        (handed,) = until(supervisor, TableHandedBack)
        assert handed.transfer is not None
        eventually(lambda: table.lookup("n") == [("n", 2)])
    table.close()
    tm.drop("starts", force=True)


def _attached(name: str) -> tm.Table | None:
    try:
        return tm.attach(name)
    except tm.TableNotFoundError:
        return None


def test_a_child_that_cannot_get_its_table_counts_as_dead(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    """It ends with a traceback that names the owner, and is run again as often as is allowed."""
    owner = Worker()
    owner.call(open_table, "starts")
    child = Child("counter", count_starts, tables={"starts": {}})
    with pytest.raises(TooManyRestartsError):
        Supervisor([child], max_restarts=1, context="fork").run()
    assert f"owned by process {owner.pid}" in capfd.readouterr().err
    assert "TableOwnedError" in Worker().call(claim_error, "starts")


def test_no_child_is_left_when_one_cannot_be_started(instance: str) -> None:
    """start stops those that run."""
    children = [Child("good", idle), Child("bad", lambda: None)]  # what spawn cannot pickle
    events: list[Event] = []
    with pytest.raises((AttributeError, pickle.PicklingError)):
        Supervisor(children, context="spawn", on_event=events.append).start()
    assert [type(event) for event in events] == [ChildStarted, ChildExited]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"children": [Child("a", idle)], "strategy": "sideways"}, "one_for_one"),
        ({"children": [Child("a", idle), Child("a", idle)]}, "same name"),
        ({"children": [], "max_restarts": -1}, "max_restarts"),
        ({"children": [], "max_seconds": 0}, "max_seconds"),
    ],
)
def test_a_senseless_supervisor_is_refused(arguments: dict[str, Any], error: str) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=error):
        Supervisor(**arguments)


@pytest.mark.parametrize("arguments", [{"children": Child("a", idle)}, {"children": [5]}, {"children": 5}])
def test_what_is_no_list_of_children_is_refused(arguments: dict[str, Any]) -> None:
    """By name, not by what it lacks."""
    with pytest.raises(TypeError, match="Child"):
        Supervisor(**arguments)


def test_only_a_child_can_be_added() -> None:
    """And what was refused has left nothing behind."""
    child: Any = 5
    with Supervisor([], context="fork") as supervisor:
        with pytest.raises(TypeError, match="Child objects, not int"):
            supervisor.start_child(child)
        assert supervisor.count_children()["specs"] == 0


@pytest.mark.parametrize("seconds", ["x", True])
def test_the_time_of_a_limit_is_a_number(seconds: Any) -> None:
    """Said as for a number that makes no sense."""
    with pytest.raises(TypeError, match="max_seconds is a number of seconds above 0"):
        Supervisor([], max_seconds=seconds)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"name": ""}, ValueError, "needs a name"),
        ({"name": 5}, TypeError, "str, not int"),
        ({"target": "idle"}, TypeError, "callable, not str"),
        ({"args": 5}, TypeError, "args .* not int"),
        ({"args": "x"}, TypeError, "args .* not str"),
        ({"kwargs": 5}, TypeError, "kwargs .* not int"),
        ({"kwargs": {5: 5}}, TypeError, "kwargs .* not int"),
        ({"restart": "often"}, ValueError, "permanent"),
        ({"shutdown": -1}, ValueError, "shutdown .* -1"),
        ({"shutdown": float("nan")}, ValueError, "shutdown .* nan"),
        ({"shutdown": "x"}, TypeError, "shutdown .* not str"),
        ({"shutdown": True}, TypeError, "shutdown .* not bool"),
        ({"tables": ["t"]}, TypeError, "tables .* not list"),
        ({"tables": {"t": None}}, TypeError, "'t'.* not NoneType"),
        ({"tables": {5: {}}}, TypeError, "must be a str, not int"),
        ({"tables": {"": {}}}, ValueError, "must not be empty"),
        ({"tables": {"t": {"typ": "set"}}}, TypeError, "'t'.*'typ'.*see new_table"),
        ({"tables": {"t": {"type": "zzz"}}}, ValueError, "'t'.*type .*'zzz'"),
        ({"tables": {"t": {"mode": "x"}}}, TypeError, "'t'.*mode .* not str"),
        ({"tables": {"t": {"wait": -1}}}, ValueError, "'t'.*wait .* -1"),
        ({"tables": {"t": {"lock_timeout": None}}}, TypeError, "'t'.*lock_timeout .* not NoneType"),
        ({"tables": {"t": {"heir": None, "heir_data": 1}}}, ValueError, "'t'.*heir_data"),
        ({"tables": {"t": {"heir_data": object()}}}, TypeError, "'t'.*object"),
    ],
)
def test_a_senseless_child_is_refused(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    """When it is described, not when it is started."""
    with pytest.raises(error, match=said):
        Child(**{"name": "a", "target": idle, **arguments})


def test_a_child_may_name_an_heir_that_comes_later() -> None:
    """Who it is shows when the table is opened."""
    Child("a", idle, tables={"t": {"heir": "not yet", "heir_data": 1, "wait": None, "lock_timeout": 1}})


@pytest.fixture(autouse=True)
def no_zombies() -> Iterator[None]:
    """Whatever a test does, its children have been waited for."""
    yield
    assert zombies_of_mine() == []
