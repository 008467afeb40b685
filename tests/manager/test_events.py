"""Events: transfers, deaths, the manager's comings and goings, each told once and in order, whoever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _ffi, protocol, rendezvous, segment_names, segments
from tablemgr.listening import _RECONNECT_SECONDS
from tablemgr.mailbox import KEPT_MAX, mailbox
from tablemgr.monitoring import Monitor

from .support import Daemon, State, Worker, eventually, on_table, open_table, owner_pid


def client_of(state: State) -> tm.Client:
    """The worker's client."""
    client: tm.Client = state.setdefault("client", tm.Client())
    return client


def events(state: State, timeout: float = 0.0, least: int = 0) -> list[tm.Event]:
    """In a worker: its events, at least so many of them, and those that come within the timeout after that."""
    found: list[tm.Event] = []
    deadline = time.monotonic() + 30
    while len(found) < least and time.monotonic() < deadline:
        for event in client_of(state).events(0.2):
            found.append(event)
            if len(found) == least:
                break
    return found + list(client_of(state).events(timeout))


def create(state: State, name: str, **options: Any) -> None:
    """In a worker: a table made without a manager."""
    state[name] = tm.create(name, **options)


def shown(found: list[tm.Event]) -> list[tuple[Any, ...]]:
    """What is to be compared of events."""
    told: list[tuple[Any, ...]] = []
    for event in found:
        if isinstance(event, tm.TableTransfer):
            told.append(("transfer", event.name, event.from_.pid, event.reason, event.data))
        elif isinstance(event, tm.OwnerDied):
            told.append(("died", event.name, event.process.pid, event.exit))
        else:
            told.append((type(event).__name__,))
    return told


def test_a_gift_is_told_to_its_receiver_once(instance: str) -> None:
    """With who gave it, and the word that came with it; nothing of it is told to others, or again."""
    giver, receiver = Worker(), Worker()
    giver.call(create, "t", heir="manager")
    giver.call(on_table, "t", "give_away", receiver.pid, {"why": ["gift"]})
    (event,) = receiver.call(events, least=1)
    assert isinstance(event, tm.TableTransfer)
    assert (event.name, event.from_.pid, event.from_.alive) == ("t", giver.pid, True)
    assert (event.data, event.reason) == ({"why": ["gift"]}, "gift")
    assert abs(event.when - time.time()) < 60
    assert receiver.call(events) == giver.call(events) == list(tm.events(0)) == []


def test_a_gift_waits_for_a_receiver_without_a_client(instance: str) -> None:
    """It is in the table; a process that first asks for its events much later finds it."""
    giver, receiver = Worker(), Worker()
    giver.call(create, "t", heir="manager")
    giver.call(on_table, "t", "give_away", receiver.pid)
    giver.kill()
    assert shown(receiver.call(events, least=1)) == [("transfer", "t", giver.pid, "gift", None)]


def test_a_transfer_outlives_the_next_one(instance: str) -> None:
    """A process that gives away what it was given, before it has read of that, still reads of it."""
    giver, receiver, third = Worker(), Worker(), Worker()
    giver.call(create, "t", heir="manager")
    giver.call(on_table, "t", "give_away", receiver.pid, 1)
    receiver.call(attach_and, "t", "give_away", third.pid, 2)
    assert shown(receiver.call(events, least=1)) == [("transfer", "t", giver.pid, "gift", 1)]
    assert shown(third.call(events, least=1)) == [("transfer", "t", receiver.pid, "gift", 2)]


def test_events_come_in_the_order_of_what_happened(daemon: Daemon) -> None:
    """Whatever this process does with the tables before it reads: claim another, give one away, drop one."""
    giver, owner = Worker(), Worker()
    owner.call(open_table, "claimed")
    owner.kill()
    for name in ("first", "kept", "given on", "dropped"):
        giver.call(create, name, heir="manager")
    giver.call(on_table, "first", "give_away", os.getpid())
    tm.new_table("claimed")
    for name in ("kept", "given on", "dropped"):
        giver.call(on_table, name, "give_away", os.getpid())
    with tm.attach("given on") as table:
        table.give_away(giver.pid)
    tm.drop("dropped")
    assert [event[:2] for event in shown(list(tm.events(0)))] == [
        ("transfer", "first"),
        ("transfer", "claimed"),
        ("transfer", "kept"),
        ("transfer", "given on"),
        ("transfer", "dropped"),
        ("died", "claimed"),
    ]


def attach_and(state: State, name: str, method: str, *args: Any) -> Any:
    """In a worker: attach to a table and call a method of it."""
    state[name] = tm.attach(name)
    return getattr(state[name], method)(*args)


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "unmanaged"])
def test_an_heir_is_told_of_every_table_before_any_death(
    managed: bool, instance: str, request: pytest.FixtureRequest
) -> None:
    """Transfers in the order of creation, then the deaths, with the signal that killed; with and without a manager."""
    if managed:
        request.getfixturevalue("daemon")
    heir, owner = Worker(), Worker()
    heir.call(events)
    for name in ("c", "a", "b"):
        owner.call(create, name, heir=heir.pid, heir_data=name)
    pid = owner.pid
    owner.signal(signal.SIGKILL)
    told = shown(heir.call(events, least=6))
    owner.kill()
    if managed:
        assert told == [
            *(("transfer", name, pid, "heir", name) for name in ("c", "a", "b")),
            *(("died", name, pid, -signal.SIGKILL) for name in ("c", "a", "b")),
        ]
        return
    assert [kind for kind, *_ in told] == ["transfer"] * 3 + ["died"] * 3  # who notices settles by name
    assert {name for _, name, *_ in told} == {"a", "b", "c"}


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_status_is_told(daemon: Daemon, code: int) -> None:
    """As subprocess has it."""
    heir, owner = Worker(), Worker()
    owner.call(open_table, "t", heir=heir.pid)
    owner.start(leave, code)
    assert shown(heir.call(events, least=2)) == [
        ("transfer", "t", owner.pid, "heir", None),
        ("died", "t", owner.pid, code),
    ]


def leave(state: State, code: int) -> None:
    """In a worker: end."""
    os._exit(code)


@contextlib.contextmanager
def managed(instance: str, embedded: bool) -> Iterator[None]:
    """A manager in this process, or in another."""
    if embedded:
        with tm.Manager():
            yield
    else:
        daemon = Daemon(instance)
        yield
        daemon.kill()


def of_tables(timeout: float = 0.0) -> list[tuple[Any, ...]]:
    """The events of this process, without those of the manager."""
    return [event for event in shown(list(tm.events(timeout))) if not event[0].startswith("Manager")]


def test_the_manager_of_a_parent_tells_how_its_children_ended(instance: str) -> None:
    """The process that runs the manager is told of the deaths of its clients; it need not have waited for them."""
    with tm.Manager():
        worker = Worker()
        worker.call(open_table, "t")
        assert list(tm.events(0)) == []
        worker.signal(signal.SIGTERM)
        found = list(islice(tm.events(30), 1))
        assert shown(found) == [("died", "t", worker.pid, -signal.SIGTERM)]
        worker.kill()
        assert list(tm.events(0)) == []
        tm.new_table("t")
        assert of_tables(0.3) == [("transfer", "t", worker.pid, "heir", None)]
    client = tm.Client()
    assert shown(list(client.events(0)))[-1:] == [("ManagerDown",)]


def test_a_death_is_told_though_the_table_went_on(instance: str) -> None:
    """The manager of this process passed it on before anybody asked."""
    with tm.Manager():
        assert of_tables() == []
        first, second = Worker(), Worker()
        first.call(open_table, "t")
        first.kill()
        second.call(open_table, "t")
        assert of_tables(0.3) == [("died", "t", first.pid, -signal.SIGKILL)]


def test_who_claims_before_asking_is_told_the_transfer_first(instance: str) -> None:
    """In the process of the manager as in any other."""
    with tm.Manager():
        worker = Worker()
        worker.call(open_table, "t")
        worker.kill()
        tm.new_table("t")
        assert of_tables(0.3) == [
            ("transfer", "t", worker.pid, "heir", None),
            ("died", "t", worker.pid, -signal.SIGKILL),
        ]


def wait_until_kept(name: str) -> None:
    """Until a manager has the table."""
    eventually(lambda: any(info.kept for info in tm.tables() if info.name == name))


def test_the_next_manager_of_a_program_tells_nothing_again(instance: str) -> None:
    """What the one before kept it finds again, and that is no news."""
    with tm.Manager():
        worker = Worker()
        for name in ("claimed", "kept"):
            worker.call(open_table, name)
        worker.kill()
        tm.new_table("claimed")
        assert of_tables(0.3) == [
            ("transfer", "claimed", worker.pid, "heir", None),
            ("died", "kept", worker.pid, -signal.SIGKILL),
            ("died", "claimed", worker.pid, -signal.SIGKILL),
        ]
    with tm.Manager():
        wait_until_kept("kept")
        assert of_tables(0.3) == []
        tm.new_table("kept")
        assert of_tables(0.3) == [("transfer", "kept", worker.pid, "heir", None)]
    assert of_tables(0.3) == []


@pytest.mark.parametrize("by_claim", [True, False], ids=["claim_table", "new_table"])
@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "daemon"])
def test_a_death_of_which_a_monitor_told_is_not_told_again(instance: str, embedded: bool, by_claim: bool) -> None:
    """Not when the table comes back to this process either."""
    with managed(instance, embedded):
        table = tm.claim_table("t", tm.create, monitor=True)
        worker = Worker()
        table.give_away(worker.pid)
        worker.signal(signal.SIGKILL)
        assert shown(list(islice(tm.events(30), 1))) == [("died", "t", worker.pid, -signal.SIGKILL)]
        worker.kill()
        if by_claim:
            tm.claim_table("t", tm.create, monitor=True)
            assert of_tables(0.3) == []
        else:
            tm.new_table("t")
            assert of_tables(0.3) == [("transfer", "t", worker.pid, "heir", None)]


def test_a_successor_is_told_how_its_predecessor_ended(daemon: Daemon) -> None:
    """new_table's transfer is an event, too, and the death behind it."""
    first = Worker()
    first.call(open_table, "t", heir_data="word")
    first.kill()
    table = tm.new_table("t")
    found = list(islice(tm.events(30), 2))
    assert found[0] == table.transfer
    assert shown(found[1:]) == [("died", "t", first.pid, -signal.SIGKILL)]
    assert list(tm.events(0)) == []


def test_events_wait_for_a_stopped_process_and_a_dead_manager(daemon: Daemon) -> None:
    """Stopped while its tables came and the manager was killed, a process reads everything when it goes on."""
    heir, owner = Worker(), Worker()
    heir.call(events)
    for name in ("a", "b"):
        owner.call(open_table, name, heir=heir.pid)
    heir.signal(signal.SIGSTOP)
    owner.kill()
    eventually(lambda: {info.owner.pid for info in tm.tables() if info.owner} == {heir.pid})
    daemon.kill()
    heir.signal(signal.SIGCONT)
    told = shown(heir.call(events, least=4, timeout=0.3))
    assert [entry[:2] for entry in told if entry[0] != "ManagerDown"] == [
        ("transfer", "a"),
        ("transfer", "b"),
        ("died", "a"),
        ("died", "b"),
    ]


def test_a_manager_is_told_down_and_up(daemon: Daemon) -> None:
    """Once each, also where nobody read while it happened."""
    client = tm.Client()
    assert list(client.events(0)) == []
    daemon.kill()
    assert list(client.events(0.3)) == [tm.ManagerDown()]
    daemon.start()
    assert list(islice(client.events(30), 1)) == [tm.ManagerUp()]
    daemon.kill()
    daemon.start()
    assert list(client.events(0.3)) == [tm.ManagerDown(), tm.ManagerUp()]
    assert list(client.events(0.3)) == []


def test_news_of_the_manager_do_not_overtake_what_happened_before(daemon: Daemon) -> None:
    """A gift is told before the manager's restart after it, though this process hears of the restart first."""
    giver = Worker()
    for name in ("before", "after"):
        giver.call(create, name, heir="manager")
    assert list(tm.events(0)) == []
    giver.call(on_table, "before", "give_away", os.getpid())
    daemon.kill()
    daemon.start()
    tm.info()  # which introduces the new manager to this process
    giver.call(on_table, "after", "give_away", os.getpid())
    assert [entry[:2] for entry in shown(list(tm.events(0)))] == [
        ("transfer", "before"),
        ("ManagerDown",),
        ("ManagerUp",),
        ("transfer", "after"),
    ]


def test_the_loss_of_a_manager_does_not_overtake_what_happened_before(instance: str) -> None:
    """Whoever notices first that there is none any more."""
    giver = Worker()
    giver.call(create, "t", heir="manager")
    box = mailbox(instance)
    box.met_manager(giver.pid, 1, 1.0)
    giver.call(on_table, "t", "give_away", os.getpid())
    for _ in range(2):  # told once
        box.lost_manager()
    assert [type(event) for event in tm.events(0)] == [tm.TableTransfer, tm.ManagerDown]


def test_a_manager_that_comes_later_is_told(instance: str) -> None:
    """To who listened while there was none."""
    assert list(tm.events(0)) == []
    with tm.Manager():
        assert list(islice(tm.events(30), 1)) == [tm.ManagerUp()]


def test_a_forked_child_has_a_mailbox_of_its_own(instance: str) -> None:
    """What its parent was given is not told to it, nor taken from the parent."""
    giver = Worker()
    giver.call(create, "t", heir="manager")
    assert list(tm.events(0)) == []
    giver.call(on_table, "t", "give_away", os.getpid())
    child = Worker()
    assert child.call(events, 0.1) == []
    assert shown(list(tm.events(0))) == [("transfer", "t", giver.pid, "gift", None)]


def test_threads_share_a_mailbox(instance: str) -> None:
    """Each event goes to one of them."""
    giver = Worker()
    names = [f"t{i}" for i in range(20)]
    got: list[str] = []
    lock = threading.Lock()

    def listen() -> None:
        for event in tm.events():
            with lock:
                assert isinstance(event, tm.TableTransfer)
                got.append(event.name)
                if len(got) >= len(names) - 2:
                    return

    threads = [threading.Thread(target=listen, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for name in names:
        giver.call(create, name, heir="manager")
        giver.call(on_table, name, "give_away", os.getpid())
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert sorted(got) == sorted(names)


def test_events_in_an_event_loop(instance: str) -> None:
    """async for waits without keeping the loop, which may be the manager's own."""

    async def main() -> tuple[list[tuple[Any, ...]], int]:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.005)
                turns += 1

        async with tm.Manager():
            turning = asyncio.create_task(turn())
            worker = await asyncio.to_thread(Worker)
            await asyncio.to_thread(worker.call, open_table, "t", heir=os.getpid())
            worker.signal(signal.SIGKILL)
            found = []
            async for event in tm.aevents(30):
                found.append(event)
                if len(found) == 2:
                    break
            found += [event async for event in tm.aevents(0.05)]
            turning.cancel()
            return shown(found), turns

    told, turns = asyncio.run(main())
    assert [entry[0] for entry in told] == ["transfer", "died"]
    assert turns > 3


def test_a_silence_ends_the_iterator(instance: str) -> None:
    """After the seconds asked for, not before."""
    begun = time.monotonic()
    assert list(tm.events(0.2)) == []
    assert 0.2 <= time.monotonic() - begun < 10


@pytest.fixture
def stopped(daemon: Daemon) -> Iterator[Daemon]:
    """A manager that does not run, and which this process has not met."""
    os.kill(daemon.pid, signal.SIGSTOP)
    yield daemon
    os.kill(daemon.pid, signal.SIGCONT)


@pytest.mark.parametrize("in_loop", [False, True], ids=["events", "aevents"])
def test_a_stopped_manager_keeps_no_reader_of_events_waiting(stopped: Daemon, in_loop: bool) -> None:
    """What is given meanwhile is told, and a silence ends when it should."""

    async def read() -> list[tm.Event]:
        return [event async for event in tm.aevents(0.2)]

    giver = Worker()
    giver.call(create, "t", heir="manager")
    giver.call(on_table, "t", "give_away", os.getpid())
    begun = time.monotonic()
    found = asyncio.run(read()) if in_loop else list(tm.events(0.2))
    assert time.monotonic() - begun < 5
    assert [type(event) for event in found] == [tm.TableTransfer]
    assert list(tm.events(0)) == []
    assert time.monotonic() - begun < 5


def test_a_stopped_manager_that_goes_on_or_ends_is_noticed(stopped: Daemon) -> None:
    """Its answer is heard when it comes; if none comes any more, its successor's."""
    events = tm.events()
    assert list(tm.events(0)) == []
    os.kill(stopped.pid, signal.SIGCONT)
    until_met = time.monotonic() + 30
    while mailbox(stopped.instance)._manager is None:
        assert time.monotonic() < until_met
        assert list(tm.events(0.01)) == []
    stopped.kill()
    assert list(islice(events, 1)) == [tm.ManagerDown()]
    stopped.start()
    assert list(islice(events, 1)) == [tm.ManagerUp()]


@pytest.fixture(params=["refuses", "hangs up"])
def unwilling(request: pytest.FixtureRequest, instance: str) -> Iterator[list[int]]:
    """Something in the manager's place that has no use for this process; how often it was asked."""
    refusal = protocol.encode(protocol.Refused("version", "restart it")) if request.param == "refuses" else b""
    asked = [0]

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut down: the end
            while True:
                connection, _ = listener.accept()
                asked[0] += 1
                with connection:
                    connection.sendall(refusal)

    listener, made = rendezvous.listen(instance)
    listener.setblocking(True)
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    yield asked
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()
    rendezvous.remove_socket(instance, made)


def test_a_manager_that_does_not_want_this_process_costs_next_to_nothing(
    instance: str, unwilling: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked now and then, and all tables are looked at as if there were none."""
    monkeypatch.setattr("tablemgr.listening._LOOK_SECONDS", 1000.0)
    looks: list[Iterable[str] | None] = []
    look = mailbox(instance).look

    def counted(names: Iterable[str] | None) -> None:
        looks.append(names)
        look(names)

    monkeypatch.setattr(mailbox(instance), "look", counted)
    assert list(tm.events(1.0)) == []
    assert looks.count(None) == 1
    assert 2 <= unwilling[0] <= 1.0 / _RECONNECT_SECONDS + 2


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_senseless_timeout_is_refused(instance: str, timeout: object) -> None:
    """At the call, not at the first event."""
    with pytest.raises((TypeError, ValueError), match="timeout"):
        tm.events(timeout)  # type: ignore[arg-type]  # what is tested
    with pytest.raises((TypeError, ValueError), match="timeout"):
        tm.aevents(timeout)  # type: ignore[arg-type]  # the same


def test_who_never_reads_loses_the_oldest_and_is_told_how_many(instance: str) -> None:
    """The memory for events is bounded, and the loss is no secret."""
    box = mailbox(instance)
    for number in range(KEPT_MAX + 5):
        box.put_death(number, tm.OwnerDied(str(number), tm.Process(1, 1, False), None))
    found = list(tm.events(0))
    assert found[0] == tm.EventsLost(5)
    assert [event.name for event in found[1:] if isinstance(event, tm.OwnerDied)][:1] == ["5"]
    assert len(found) == KEPT_MAX + 1


def test_what_was_told_of_tables_that_are_gone_is_forgotten(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for it is bounded by what there is; what there is is told once all the same."""
    monkeypatch.setattr("tablemgr.mailbox._TABLES_LEAST", 4)
    giver = Worker()
    for name in ("stays", *map(str, range(12))):
        giver.call(create, name, heir="manager")
        giver.call(on_table, name, "give_away", os.getpid())
        assert shown(list(tm.events(0))) == [("transfer", name, giver.pid, "gift", None)]
        mailbox(instance).put_death(giver.call(table_id, name), tm.OwnerDied(name, tm.Process(1, 1, False), None))
        assert shown(list(tm.events(0))) == [("died", name, 1, None)]
        if name != "stays":
            tm.drop(name)
    box = mailbox(instance)
    assert 0 < len(box._told) <= 4
    assert 0 < len(box._deaths) <= 4
    assert list(tm.events(0)) == []


def test_what_nobody_can_look_at_keeps_nothing_in_memory(
    instance: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Anybody can put something under a table's name, which will never be one that this process was told of."""
    monkeypatch.setattr("tablemgr.mailbox._TABLES_LEAST", 4)
    link = f"{segment_names.SHM}{segment_names.segment_name(instance, 'link')}"
    os.symlink("nowhere", link)
    request.addfinalizer(lambda: os.unlink(link))
    giver = Worker()
    for name in map(str, range(12)):
        giver.call(create, name, heir="manager")
        giver.call(on_table, name, "give_away", os.getpid())
        assert shown(list(tm.events(0))) == [("transfer", name, giver.pid, "gift", None)]
        tm.drop(name)
    assert len(mailbox(instance)._told) <= 4


def table_id(state: State, name: str) -> int:
    """In a worker: what tells the table from others."""
    with tm.attach(name) as table:
        return table._table_id


def test_a_monitor_is_told_of_later_owners(daemon: Daemon) -> None:
    """claim_table(monitor=True): who gives the table away is told how the new owner ends."""
    tm.claim_table("t", tm.create, monitor=True)
    assert list(tm.events(0)) == []
    first, second = Worker(), Worker()
    with tm.attach("t") as table:
        table.give_away(first.pid)
        first.call(attach_and, "t", "give_away", second.pid)
        second.signal(signal.SIGKILL)  # it is waited for later: the manager may not have heard of it yet
        found = list(islice(tm.events(30), 1))
        assert shown(found) == [("died", "t", second.pid, -signal.SIGKILL)]
        second.kill()
        assert owner_pid(table) == daemon.pid
    assert list(tm.events(0)) == []


def test_a_monitor_waits_for_a_stopped_manager_without_haste(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Who waits for its word on a death looks now and then, though the pidfd of the dead owner stays readable."""
    worker = Worker()
    tm.claim_table("t", tm.create, monitor=True).give_away(worker.pid)
    assert list(tm.events(0)) == []
    looks = []
    look = Monitor.look

    def counted(self: Monitor, has_manager: bool) -> tuple[list[tm.OwnerDied], bool]:
        looks.append(has_manager)
        return look(self, has_manager)

    monkeypatch.setattr(Monitor, "look", counted)
    daemon.process.send_signal(signal.SIGSTOP)
    request.addfinalizer(lambda: daemon.process.send_signal(signal.SIGCONT))
    worker.kill()
    assert shown(list(islice(tm.events(30), 1))) == [("died", "t", worker.pid, -signal.SIGKILL)]
    assert len(looks) < 2 * 1.0 / 0.005  # the time that it is waited for, by the pause between two looks


def pidfds() -> int:
    """How many there are in this process."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # of the directory itself
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return links.count("anon_inode:[pidfd]") + sum(link.startswith("pidfd:") for link in links)


def test_a_forked_child_has_nothing_of_a_monitor(daemon: Daemon) -> None:
    """Its descriptors are its parent's, which goes on watching."""
    worker = Worker()
    before = pidfds()
    with tm.claim_table("t", tm.create, monitor=True) as table:
        table.give_away(worker.pid)
        assert list(tm.events(0)) == []
        assert pidfds() == before + 1
        child = os.fork()
        if child == 0:
            os._exit(pidfds() > before)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        worker.kill()
        assert shown(list(islice(tm.events(30), 1))) == [("died", "t", worker.pid, -signal.SIGKILL)]


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
def test_a_monitor_is_told_of_an_owner_with_whom_the_table_went(daemon: Daemon, seen: bool) -> None:
    """Also where the events were not read while it was the owner."""
    tm.claim_table("t", tm.create, monitor=True)
    assert list(tm.events(0)) == []
    owner = Worker()
    with tm.attach("t") as table:
        table.setopts(heir=None)
        table.give_away(owner.pid)
    if seen:
        assert list(tm.events(0)) == []
    owner.signal(signal.SIGKILL)
    owner.await_end()
    eventually(lambda: tm.tables() == [])
    assert shown(list(tm.events(0.3))) == [("died", "t", owner.pid, -signal.SIGKILL)]
    owner.kill()
    assert list(tm.events(0)) == []


def test_a_monitor_waits_until_it_is_said_how_an_owner_ended(instance: str) -> None:
    """A manager inherits in one step and says in the next how the owner ended; a look between them does not tell."""
    owner, manager = Worker(), Worker()
    with tm.create("t", heir="manager") as table:
        monitor = Monitor(instance, "t")
        table.give_away(owner.pid)
        dead = table._handle.describe().owner
        owner.kill()
        manager.call(attach_handle, instance, "t")
        manager.call(on_table, "t", "claim", _ffi.CLAIM_TO_KEEP)
        monitor.due = 0.0  # as if the bell had been rung
        assert monitor.look(has_manager=True) == ([], True)
        manager.call(on_table, "t", "note_end", _ffi.Ending(dead, -signal.SIGKILL))
        told = eventually(lambda: monitor.look(has_manager=True)[0])
        assert told == [tm.OwnerDied("t", tm.Process(*dead, alive=False), -signal.SIGKILL)]
        assert monitor.look(has_manager=True) == ([], True)
        monitor.close()


def attach_handle(state: State, instance: str, name: str) -> None:
    """In a worker: attach to a table as a manager does."""
    state[name] = segments.attach(instance, name, _ffi.MAP_HEAD)


def test_an_owner_that_ends_during_a_look_is_told_of_with_all_its_tables(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of one of them, its death, and then of the others."""
    owner = Worker()
    for name in ("c", "a", "b"):
        owner.call(create, name, heir=os.getpid())
    assert list(tm.events(0)) == []
    real = _ffi.process_alive

    def ends_when_asked(pid: int, start: int) -> bool:
        alive = real(pid, start)
        if pid == owner.pid and alive:
            owner.kill()
        return alive

    monkeypatch.setattr(_ffi, "process_alive", ends_when_asked)
    monkeypatch.setattr("tablemgr.mailbox._END_SECONDS", 0.0)
    told = shown(list(islice(tm.events(30), 6)))
    assert [kind for kind, *_ in told] == ["transfer"] * 3 + ["died"] * 3
