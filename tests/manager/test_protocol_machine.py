"""Random calls of several clients, and deaths of clients and managers, on real processes and on a model of them."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import uuid
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import tablemgr as tm
from tests.support.soak import soak_minutes

from .protocol_model import MANAGER, Model, Person, Wish
from .support import TIMEOUT, State, Worker, eventually, in_line

WORKERS = 3
OWNER = -1  # the slot of whoever owns the table, else the first
SLOTS = st.integers(0, WORKERS - 1)
CALLERS = st.one_of(st.just(OWNER), SLOTS)
NAMES, KINDS = st.sampled_from(["a", "b"]), st.sampled_from(["set", "set", "set", "bag"])
KIND_OF_LINES = "set"
WAYS_TO_GET = st.sampled_from(["new_table", "line", "new_table", "line", "claim_table", "add_table"])
HEIRS = st.sampled_from([MANAGER, MANAGER, None, 0, 1, 2])  # a number: a slot
DATA = st.sampled_from([None, "word", (1, 2)])
TITLES = st.sampled_from(["chief", "deputy"])


# -- in workers --------------------------------------------------------------------------------------------------------


def attempt(state: State, function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns, or the name of what it raises."""
    client = state.setdefault("client", tm.Client())
    try:
        return function(client, *args)
    except (tm.TableError, LookupError, ValueError) as error:
        return type(error).__name__


def shown(table: tm.Table) -> tuple[bool, tuple[int, str, Any] | None]:
    """Whether it came with rows, and from whom, why and with what."""
    with table:
        told = table.transfer
        return table.inherited, (told.from_.pid, told.reason, told.data) if told else None


def new_table(client: tm.Client, name: str, kind: str, heir: Any, data: Any, wait: float | None) -> Any:
    return shown(client.new_table(name, type=kind, heir=heir, heir_data=data, wait=wait))


def claim_table(client: tm.Client, name: str) -> Any:
    return shown(client.claim_table(name, tm.create))


def add_table(client: tm.Client, name: str, data: Any) -> None:
    with tm.attach(name) as table:
        client.add_table(table, heir_data=data)


def abandon_table(client: tm.Client, name: str) -> None:
    with tm.attach(name) as table:
        client.abandon_table(table)


def del_table(client: tm.Client, name: str) -> None:
    client.del_table(name)


def setopts(client: tm.Client, name: str, heir: Any, data: Any) -> None:
    with tm.attach(name) as table:
        table.setopts(heir=heir, heir_data=data)


def give_away(client: tm.Client, name: str, to: Any, data: Any) -> None:
    with tm.attach(name) as table:
        table.give_away(to, data)


def drop(client: tm.Client, name: str) -> None:
    with tm.attach(name) as table:
        table.drop()


def register(client: tm.Client, name: str) -> None:
    client.register(name)


def whereis(client: tm.Client, name: str) -> int | None:
    found = client.whereis(name)
    return found.pid if found else None


def read(client: tm.Client, count: int) -> list[tuple[Any, ...]]:
    """At least so many events of tables, unless they do not come, and all others that there are."""
    found: list[tuple[Any, ...]] = []

    def take(silence: float, most: float) -> None:
        for event in client.events(silence):
            if isinstance(event, tm.TableTransfer):
                found.append(("transfer", event.name, event.from_.pid, event.reason, event.data, event.when))
            elif isinstance(event, tm.OwnerDied):
                found.append(("died", event.name, event.process.pid, event.exit))
            else:
                found.append((type(event).__name__, None))
            if sum(name is not None for _, name, *_ in found) >= most:
                break

    if count > 0:
        take(TIMEOUT / 3, count)
    take(0, math.inf)
    return found


def serve(state: State) -> None:
    """In a worker: be the manager."""
    tm.Manager().serve_forever()


WAYS_TO_PART = st.sampled_from([give_away, give_away, give_away, setopts, abandon_table, del_table, drop])


# -- the machine -----------------------------------------------------------------------------------------------------


class ProtocolMachine(RuleBasedStateMachine):
    """Workers, a manager, and the model of both."""

    def __init__(self) -> None:
        super().__init__()
        self.instance = os.environ["TABLEMGR_INSTANCE"] = f"machine-{uuid.uuid4().hex[:12]}"
        self.client = tm.Client()
        self.model = Model()
        self.workers: list[Worker] = []
        self.people: list[Person] = []
        self.manager = self.start_manager()
        for slot in range(WORKERS):
            self.start_worker(slot)

    def start_manager(self) -> Worker:
        manager = Worker()
        manager.start(serve)
        self.client.wait_for_manager(TIMEOUT)
        self.client.close()  # the workers are forked from here
        return manager

    def start_worker(self, slot: int) -> None:
        worker = Worker()
        self.workers[slot : slot + 1], self.people[slot : slot + 1] = [worker], [Person(worker.pid)]
        worker.call(attempt, read, 0)  # it has a mailbox

    def teardown(self) -> None:
        try:
            self.events()
        finally:
            Worker.end_all()
            self.client.close()
            for info in tm.tables():
                tm.drop(info.name, force=True)

    def busy(self, slot: int) -> bool:
        """Whether nothing can be asked of the worker: it is dead, or it waits."""
        return not self.people[slot].alive or self.people[slot].wants is not None

    def idle(self) -> list[int]:
        """The slots of those of whom something can be asked."""
        return [slot for slot in range(WORKERS) if not self.busy(slot)]

    def caller(self, slot: int, name: str) -> int:
        """The slot that is meant, or another that is idle."""
        table = self.model.tables.get(name)
        if slot == OWNER and table is not None and table.owner in self.people:
            slot = self.people.index(table.owner)
        return slot if slot in self.idle() else self.idle()[slot % len(self.idle())]

    def process(self, heir: int | str | None) -> tuple[Any, Any]:
        """For the model and for the call: an heir, where an int is a slot."""
        if isinstance(heir, int):
            return self.people[heir], self.people[heir].pid
        return heir, heir

    def call(self, slot: int, expected: Any, function: Callable[..., Any], *args: Any) -> None:
        assert self.workers[slot].call(attempt, function, *args) == expected
        self.settle()

    # -- what must be ------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Those in line get what is theirs, and all tables are as the model has them."""
        for name in list(self.model.lines):
            while served := self.model.served(name):
                who = self.first_answered(served)
                assert self.workers[self.people.index(who)].result() == self.model.serve(who, KIND_OF_LINES)
        with contextlib.suppress(AssertionError):  # what is compared below says more
            eventually(lambda: self.found() == self.expected())
        assert self.found() == self.expected()
        for slot, who in enumerate(self.people):
            assert who.wants is None or not self.workers[slot].has_result()

    def first_answered(self, people: list[Person]) -> Person:
        """Of those who wait, the one whose wait ends."""
        done = eventually(lambda: [who for who in people if self.workers[self.people.index(who)].has_result()])
        first: Person = done[0]
        return first

    def found(self) -> dict[str, tuple[Any, ...]]:
        """Type, owner and heir of each table; an orphan has only the first, and what is not settled is no orphan."""
        tables = {}
        for info in tm.tables():
            assert info.owner is not None
            heir = info.heir.pid if isinstance(info.heir, tm.Process) else info.heir
            is_kept = info.kept and info.owner.pid == self.manager.pid
            is_settled = is_kept if self.model.has_manager else not info.owner.alive
            owned = (info.owner.pid, heir) if info.owner.alive and not info.kept else ("orphan",) if is_settled else ()
            tables[info.name] = (info.type, *owned)
        return tables

    def expected(self) -> dict[str, tuple[Any, ...]]:
        """The same of the model."""
        return {
            name: (table.type, table.owner.pid, table.heir.pid if isinstance(table.heir, Person) else table.heir)
            if table.owner
            else (table.type, "orphan")
            for name, table in self.model.tables.items()
        }

    def compare_events(self, slot: int) -> None:
        """Each once, in their order, deaths after the transfer; the manager's ups and downs in turn."""
        if self.busy(slot):
            return
        person = self.people[slot]
        expected, person.told = person.told, {}
        events = self.workers[slot].call(attempt, read, sum(map(len, expected.values())))
        found: dict[str, list[tuple[Any, ...]]] = {}
        for kind, name, *rest in events:
            if kind == "transfer":
                found.setdefault(name, []).append((kind, *rest[:3]))
            elif kind == "died":
                found.setdefault(name, []).append((kind, rest[0]))
                assert rest[1] in self.model.exits[rest[0]]
        assert found == {name: told for name, told in expected.items() if told}
        whens = [rest[-1] for kind, _, *rest in events if kind == "transfer"]
        assert whens == sorted(whens)
        changes = [kind for kind, name, *_ in events if name is None]
        assert all(one != other for one, other in itertools.pairwise(changes))

    # -- calls: few rules of many calls each, since hypothesis leaves some of the rules out of every run ---------------

    @initialize(heir=HEIRS, data=DATA)
    def begin(self, heir: Any, data: Any) -> None:
        self.get(0, "a", "set", heir, data, "new_table")

    @precondition(lambda self: self.idle())
    @rule(slot=SLOTS, name=NAMES, kind=KINDS, heir=HEIRS, data=DATA, how=WAYS_TO_GET)
    def get(self, slot: int, name: str, kind: str, heir: Any, data: Any, how: str) -> None:
        """new_table, with and without patience, claim_table, add_table."""
        slot = self.caller(slot, name)
        who, (person, argument) = self.people[slot], self.process(heir)
        data = data if heir is not None or how == "add_table" else None
        if how == "new_table":
            expected = self.model.new_table(who, name, kind, person, data)
            self.call(slot, expected, new_table, name, kind, argument, data, 0.0)
        elif how == "line":
            expected = self.model.new_table(who, name, KIND_OF_LINES, person, data)
            self.workers[slot].start(attempt, new_table, name, KIND_OF_LINES, argument, data, None)
            if expected == "TableOwnedError":
                self.model.wait(who, Wish(name, person, data))
                self.await_line()
            else:
                assert self.workers[slot].result() == expected
            self.settle()
        elif how == "claim_table":
            self.call(slot, self.model.claim_table(who, name), claim_table, name)
        else:
            self.call(slot, self.model.add_table(who, name, data), add_table, name, data)

    @precondition(lambda self: self.model.tables and self.idle())
    @rule(slot=CALLERS, name=NAMES, to=st.one_of(SLOTS, TITLES), heir=HEIRS, data=DATA, how=WAYS_TO_PART)
    def part(self, slot: int, name: str, to: int | str, heir: Any, data: Any, how: Any) -> None:
        """What only the owner may."""
        slot = self.caller(slot, name)
        who = self.people[slot]
        if how is give_away:
            person, argument = (self.model.whereis(to), to) if isinstance(to, str) else self.process(to)
            self.call(slot, self.model.give_away(who, name, person, data), give_away, name, argument, data)
        elif how is setopts:
            person, argument = self.process(heir)
            data = None if heir is None else data
            self.call(slot, self.model.setopts(who, name, person, data), setopts, name, argument, data)
        elif how is drop:
            self.call(slot, self.model.drop(who, name), drop, name)
        else:
            self.call(slot, self.model.end_management(who, name), how, name)

    @precondition(lambda self: self.idle())
    @rule(slot=SLOTS, title=TITLES)
    def register(self, slot: int, title: str) -> None:
        slot = self.caller(slot, "")
        self.call(slot, self.model.register(self.people[slot], title), register, title)
        holder = self.model.whereis(title)
        self.call(slot, holder and holder.pid, whereis, title)

    @rule()
    def events(self) -> None:
        for slot in range(WORKERS):
            self.compare_events(slot)

    # -- deaths ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(who.alive for who in self.people))
    @rule(slot=CALLERS, name=NAMES, replaced=st.sampled_from([True, True, False]))
    def kill_worker(self, slot: int, name: str, replaced: bool) -> None:
        """One that owns something, or any, also one that waits."""
        table = self.model.tables.get(name)
        if slot == OWNER:
            slot = self.people.index(table.owner) if table is not None and table.owner is not None else 0
        if not self.people[slot].alive:
            slot = [who.alive for who in self.people].index(True)
        self.workers[slot].signal(signal.SIGKILL)  # waited for when there is the next one
        self.workers[slot].await_end()
        self.model.die(self.people[slot])
        self.settle()
        if replaced:
            self.replace(slot)

    @precondition(lambda self: not all(who.alive for who in self.people))
    @rule()
    def replace_the_dead(self) -> None:
        for slot, who in enumerate(self.people):
            if not who.alive:
                self.replace(slot)

    def replace(self, slot: int) -> None:
        self.workers[slot].kill()
        self.start_worker(slot)

    @precondition(lambda self: self.model.has_manager)
    @rule(replaced=st.booleans())
    def kill_manager(self, replaced: bool) -> None:
        self.manager.kill()
        self.model.end_manager()
        self.settle()
        if replaced:
            self.replace_the_manager()

    @precondition(lambda self: not self.model.has_manager)
    @rule()
    def replace_the_manager(self) -> None:
        self.manager = self.start_manager()
        self.model.has_manager = True
        self.settle()
        self.await_line()

    def await_line(self) -> None:
        """All who wait have asked the manager that there is, if any."""
        if self.model.has_manager:
            waiting = {(name, who.pid) for name, line in self.model.lines.items() for who in line}
            eventually(lambda: set(in_line(self.instance)) == waiting)


@pytest.mark.timeout(900)  # a failure is made small before it is told
def test_the_protocol_does_what_its_model_does(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owner, heir, what is inherited, errors, and events: whatever is called in whatever order, whoever is killed."""
    monkeypatch.setenv("TABLEMGR_INSTANCE", instance)  # set back afterwards: each run has one of its own
    examples = hypothesis.settings().max_examples // 4 if soak_minutes() else 20
    run_state_machine_as_test(
        ProtocolMachine, settings=hypothesis.settings(stateful_step_count=60, max_examples=examples)
    )
