"""The manager's way with tables, on tables that are plain objects: settled, inherited, given away, lost and renamed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tablemgr import _ffi
from tablemgr._ffi import Ending
from tablemgr.errors import CorruptTableError, LockTimeoutError, NotOwnerError, TableNotFoundError, TableOwnedError
from tablemgr.manager.decisions import Identity
from tablemgr.manager.estate import Estate, Given
from tablemgr.manager.journal import Event, Journal
from tablemgr.manager.outside import UnmanageableError

ME = Identity(1, 10)
OWNER = Identity(2, 20)
OTHER = Identity(3, 30)


@dataclass
class FakeTable:
    """A table that follows the core's rules of ownership; also its own description and its own handle."""

    world: FakeWorld
    name: str
    owner: tuple[int, int] = OWNER
    heir: int = _ffi.HEIR_MANAGER
    table_id: int = 0
    created_ns: int = 0
    dropped: bool = False
    foreign_namespace: bool = False
    kept: bool = False
    transfer_reason: int = _ffi.REASON_NEVER
    transfer_from: tuple[int, int] = (0, 0)
    transfer_seq: int = 0
    transfer_end: int = _ffi.END_OPEN
    transfer_exit: int | None = None
    n_notes: int = 0
    trouble: Exception | None = None
    history: list[tuple[int, int]] = field(default_factory=list)

    def claim(self, what: int, ending: Ending | None) -> None:
        assert what in (_ffi.CLAIM_TO_KEEP, _ffi.CLAIM_TO_OFFER)
        if self.trouble is not None:
            raise self.trouble
        if self.owner not in self.world.dead:
            raise TableOwnedError
        if self.heir == _ffi.HEIR_NONE:
            self.dropped = True
            del self.world.tables[self.name]
            raise TableNotFoundError
        before = self.transfer_from if self.kept else self.owner
        self.kept = True
        reason = _ffi.REASON_KEPT if what == _ffi.CLAIM_TO_KEEP else _ffi.REASON_OFFERED
        self._move(self.world.me, reason, before)
        if ending is not None:
            self._tell(ending)

    def pass_on(self, receiver: Identity, kept: bool) -> None:
        if self.dropped:
            raise TableNotFoundError
        if self.owner != self.world.me or not self.kept:
            raise NotOwnerError
        if receiver in self.world.dead:
            raise LookupError
        self.kept = kept
        self._move(receiver, _ffi.REASON_KEPT if kept else _ffi.REASON_INHERITED, self.transfer_from)

    def take(self, receiver: Identity) -> None:
        """As an outsider that claims what is offered."""
        assert self.transfer_reason == _ffi.REASON_OFFERED
        self.kept = False
        self._move(receiver, _ffi.REASON_INHERITED, self.transfer_from)

    def note_end(self, ending: Ending) -> bool:
        self.n_notes += 1
        self._tell(ending)
        return True

    def close(self) -> None:
        self.world.open_handles -= 1

    def _tell(self, ending: Ending) -> None:
        assert ending.process == self.transfer_from
        self.transfer_end = _ffi.END_UNKNOWN if ending.status is None else _ffi.END_KNOWN
        self.transfer_exit = ending.status

    def _move(self, owner: Identity, reason: int, before: tuple[int, int]) -> None:
        self.owner = owner
        self.transfer_reason, self.transfer_from = reason, before
        self.transfer_seq += 1
        self.history.append(owner)
        self.world.moves.append((self.name, owner))


class FakeWorld:
    """The outside, without segments or processes."""

    def __init__(self) -> None:
        self.me = ME
        self.tables: dict[str, FakeTable] = {}
        self.dead: set[tuple[int, int]] = set()
        self.mortals: list[Identity] = []
        self.moves: list[tuple[str, Identity]] = []
        self.open_handles = 0
        self.parted: list[str] = []
        self.attached: list[str] = []
        self._names: set[str] = set()
        self._next = 100

    def add(self, name: str, **fields: object) -> FakeTable:
        self._next += 1
        table = FakeTable(self, name, table_id=self._next, created_ns=self._next)
        for key, value in fields.items():
            setattr(table, key, value)
        self.tables[name] = table
        return table

    def names(self) -> set[str]:
        if self._names != self.tables.keys():
            self._names = set(self.tables)
        return self._names

    def glance(self, name: str) -> FakeTable | None:
        table = self.tables.get(name)
        if table is None or table.dropped:
            return None
        if table.foreign_namespace:
            raise UnmanageableError("another namespace")
        if isinstance(table.trouble, OSError) and not isinstance(table.trouble, LockTimeoutError):
            raise table.trouble
        return copy.copy(table)

    def glance_of(self, name: str, handle: object) -> FakeTable | None:
        assert isinstance(handle, FakeTable)
        return None if handle.dropped else copy.copy(handle)

    def alive(self, process: Identity) -> bool:
        return process not in self.dead

    def attach(self, name: str) -> tuple[FakeTable, FakeTable]:
        if name not in self.tables:
            raise TableNotFoundError
        trouble = self.tables[name].trouble
        if isinstance(trouble, CorruptTableError):
            raise trouble
        self.open_handles += 1
        self.attached.append(name)
        return self.tables[name], copy.copy(self.tables[name])

    def part_with(self, handle: object, receiver: Identity) -> None:
        assert isinstance(handle, FakeTable)
        self.parted.append(handle.name)

    @contextmanager
    def mortal(self) -> Iterator[Identity]:
        mortal = Identity(900 + len(self.mortals), 1)
        self.mortals.append(mortal)
        yield mortal
        self.dead.add(mortal)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def estate(world: FakeWorld) -> Iterator[Estate]:
    """An estate; when it is closed no handle is left open."""
    it = Estate(world)
    yield it
    assert world.open_handles == 0


def test_a_live_owners_table_is_left_alone(world: FakeWorld, estate: Estate) -> None:
    """It is known, with its owner, and that is all."""
    world.add("t")
    estate.round()
    (record,) = estate.records()
    assert (record.name, record.owner, record.held) == ("t", OWNER, False)
    assert not world.moves


def test_an_orphan_is_inherited_and_passed_on(world: FakeWorld, estate: Estate) -> None:
    """The manager holds it in between, and not a moment longer."""
    table = world.add("t")
    world.dead.add(OWNER)
    record = estate.look("t")
    assert record is not None
    assert record.held
    assert estate.give(record, OTHER) is Given.DONE
    assert (table.owner, table.kept) == (OTHER, False)
    assert [r.held for r in estate.records()] == [False]


def test_what_nobody_waits_for_is_offered(world: FakeWorld) -> None:
    """Who comes later takes it alone; where there is a line the table is its first one's, so it is only kept."""
    awaited, other = world.add("awaited"), world.add("other")
    world.dead.add(OWNER)
    Estate(world, may_offer=lambda name: name != "awaited").round()
    assert (awaited.transfer_reason, other.transfer_reason) == (_ffi.REASON_KEPT, _ffi.REASON_OFFERED)


def test_what_was_taken_is_seen_at_the_next_look(world: FakeWorld) -> None:
    """Its taker is the owner as if it had been given to it, and that is noted once."""
    journal = Journal()
    estate = Estate(world, journal)
    table = world.add("t")
    world.dead.add(OWNER)
    estate.round()
    estate.take_concerned()
    table.take(OTHER)
    for _ in range(2):
        record = estate.look("t")
        assert record is not None
        assert (record.owner, record.held) == (OTHER, False)
    assert estate.take_concerned() == {OTHER: ["t"]}
    assert journal.counts[Event.GIVEN] == 1


def test_what_the_dead_had_taken_is_known_in_the_order_of_creation(world: FakeWorld, estate: Estate) -> None:
    """What it owned before, what it said, what it did not come to say: before anything of it is settled."""
    for name, number, owner in (("said", 1, OWNER), ("seen", 2, OTHER), ("unsaid", 3, OWNER), ("others", 4, OWNER)):
        world.add(name, created_ns=number, owner=owner)
    world.dead.add(OWNER)
    estate.round()
    for name in ("said", "unsaid"):
        world.tables[name].take(OTHER)
    world.add("made", created_ns=5, owner=OTHER)
    world.dead.add(OTHER)
    world.moves.clear()
    assert estate.owned_by(OTHER, ["made", "no such table", "others"]) == ["said", "seen", "unsaid", "made"]
    assert not world.moves


def test_in_a_visit_a_hand_over_needs_one_handle(world: FakeWorld, estate: Estate) -> None:
    """To settle the death and to give the table away; whose death is known need not be looked at before."""
    world.add("t")
    estate.round()
    world.dead.add(OWNER)
    with estate.visit():
        record = estate.look_after_death("t")
        assert record is not None
        assert estate.give(record, OTHER) is Given.DONE
    assert world.attached == ["t"]
    known = estate.known("t")
    assert known is not None
    assert (known.owner, known.held) == (OTHER, False)
    assert estate.take_concerned() == {ME: ["t"], OTHER: ["t"]}
    estate.round()
    assert not estate.take_concerned(), "told once"


def test_a_known_end_is_put_down_in_the_step_of_the_inheritance(world: FakeWorld) -> None:
    """A manager killed after it leaves nothing to be said; where nobody can say it, that is noted afterwards."""
    known, unknown = world.add("known", owner=OWNER), world.add("unknown", owner=OTHER)
    world.dead |= {OWNER, OTHER}
    Estate(world, exit_of={OWNER: -9}.get).round()
    assert (known.transfer_end, known.transfer_exit, known.n_notes) == (_ffi.END_KNOWN, -9, 0)
    assert (unknown.transfer_end, unknown.n_notes) == (_ffi.END_UNKNOWN, 1)


def test_in_a_visit_a_table_is_not_taken_for_its_successor(world: FakeWorld, estate: Estate) -> None:
    """Dropped after it was settled, and another made under its name: neither is given."""
    first = world.add("t")
    world.dead.add(OWNER)
    with estate.visit():
        record = estate.look("t")
        assert record is not None
        first.dropped = True
        second = world.add("t", owner=OTHER)
        assert estate.give(record, OTHER) is Given.LOST
        again = estate.look("t")
    assert again is not None
    assert (again.table_id, again.owner, again.held) == (second.table_id, OTHER, False)
    assert not second.history


@pytest.mark.parametrize("heir", [_ffi.HEIR_NONE, _ffi.HEIR_MANAGER])
def test_after_a_death_the_table_is_as_it_is_by_now(world: FakeWorld, estate: Estate, heir: int) -> None:
    """Gone with its owner, or under another owner already; never as it was last seen."""
    table = world.add("t", heir=heir)
    estate.round()
    world.dead.add(OWNER)
    if heir == _ffi.HEIR_MANAGER:
        table.owner = OTHER
    record = estate.look_after_death("t")
    assert (record.owner if record else None) == (OTHER if heir == _ffi.HEIR_MANAGER else None)


def test_what_a_dead_manager_held_is_held_by_its_successor(world: FakeWorld) -> None:
    """The segments say what is only kept, so nothing of the first manager is needed."""
    table = world.add("t")
    world.dead.add(OWNER)
    first = Estate(world)
    first.round()
    world.dead.add(ME)
    world.me = OTHER
    second = Estate(world)
    second.round()
    assert [(record.owner, record.held) for record in second.records()] == [(OTHER, True)]
    assert table.kept


def test_a_held_table_that_somebody_took_is_not_given(world: FakeWorld, estate: Estate) -> None:
    """Claimed away in order to be dropped: the next look tells."""
    table = world.add("t")
    world.dead.add(OWNER)
    record = estate.look("t")
    assert record is not None
    table.owner, table.kept = OTHER, False
    assert estate.give(record, OTHER) is Given.LOST
    again = estate.look("t")
    assert again is not None
    assert (again.owner, again.held) == (OTHER, False)


def test_a_round_settles_deaths_in_the_order_of_creation(world: FakeWorld, estate: Estate) -> None:
    """Known or newly found."""
    for name in ("c", "a", "b"):
        world.add(name)
    world.dead.add(OWNER)
    estate.round()
    assert [name for name, _ in world.moves] == ["c", "a", "b"]


def test_what_a_round_did_not_come_to_is_looked_at_in_the_next(
    world: FakeWorld, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it met an error that nobody had thought of, too, while no name has changed."""
    world.add("a")
    world.add("b")
    with monkeypatch.context() as once:
        once.setattr(world, "glance", lambda name: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            estate.round()
    estate.round()
    assert [record.name for record in estate.records()] == ["a", "b"]


def test_the_tables_of_one_owner_are_listed_in_the_order_of_creation(world: FakeWorld, estate: Estate) -> None:
    """By what was seen last: who changes an owner rings, and the manager looks."""
    world.add("b")
    world.add("a")
    moved = world.add("moved", owner=OTHER)
    world.add("not", owner=OTHER)
    estate.round()
    moved.owner = OWNER
    estate.look("moved")
    assert estate.owned_by(OWNER) == ["b", "a", "moved"]


def test_a_table_without_heir_is_dropped(world: FakeWorld, estate: Estate) -> None:
    """At the owner's death it goes, and is forgotten."""
    world.add("t", heir=_ffi.HEIR_NONE)
    estate.round()
    world.dead.add(OWNER)
    assert estate.look("t") is None
    assert estate.records() == []


def test_a_receiver_that_died_does_not_get_the_table(world: FakeWorld, estate: Estate) -> None:
    """The manager keeps it for the next."""
    world.add("t")
    world.dead |= {OWNER, OTHER}
    record = estate.look("t")
    assert record is not None
    assert estate.give(record, OTHER) is Given.RECEIVER_DEAD
    again = estate.look("t")
    assert again is not None
    assert again.held


def test_a_new_table_under_an_old_name_is_another_table(world: FakeWorld, estate: Estate) -> None:
    """Dropped and made again, removed behind the manager's back, or dropped and still named."""
    first = world.add("t")
    assert estate.look("t") is not None
    second = world.add("t", owner=OTHER)
    record = estate.look("t")
    assert record is not None
    assert record.table_id == second.table_id != first.table_id
    second.dropped = True
    assert estate.look("t") is None
    del world.tables["t"]
    assert estate.look("t") is None
    estate.round()


def test_a_held_table_that_is_renamed_is_held_under_its_new_name(world: FakeWorld, estate: Estate) -> None:
    """It is the table that was inherited, not the name."""
    table = world.add("t")
    world.dead.add(OWNER)
    estate.round()
    del world.tables["t"]
    world.tables["new"] = table
    table.name = "new"
    estate.round()
    assert [(record.name, record.held) for record in estate.records()] == [("new", True)]


def test_what_the_managers_own_process_owns_is_not_held(world: FakeWorld, estate: Estate) -> None:
    """An application that embeds the manager has tables of its own; those it inherited are told from them."""
    world.add("mine", owner=ME)
    world.add("orphan")
    world.dead.add(OWNER)
    estate.round()
    assert {record.name: record.held for record in estate.records()} == {"mine": False, "orphan": True}


def test_the_managers_own_process_can_claim_what_the_manager_holds(world: FakeWorld, estate: Estate) -> None:
    """The owner word is right already; from then on it is the application's."""
    world.add("t")
    world.dead.add(OWNER)
    record = estate.look("t")
    assert record is not None
    assert estate.give(record, ME) is Given.DONE
    again = estate.look("t")
    assert again is not None
    assert (again.owner, again.held) == (ME, False)


def test_release_makes_orphans_of_held_tables_only(world: FakeWorld, estate: Estate) -> None:
    """A process that dies at once gets them, in the order of their creation; the application's stay."""
    world.add("mine", owner=ME)
    second, first = world.add("second", created_ns=2), world.add("first", created_ns=1)
    world.dead.add(OWNER)
    estate.round()
    world.moves.clear()
    estate.release()
    assert [name for name, _ in world.moves] == ["first", "second"]
    assert second.owner in world.dead
    assert first.owner in world.dead
    assert first.kept
    assert world.tables["mine"].owner == ME


def test_release_starts_no_process_for_nothing(world: FakeWorld, estate: Estate) -> None:
    """Without held tables there is nobody to give them to."""
    world.add("t")
    estate.round()
    estate.release()
    assert not world.mortals


@pytest.mark.parametrize("trouble", [CorruptTableError("bad"), LockTimeoutError("slow"), OSError("odd")])
def test_trouble_with_one_table_is_told_and_does_not_disturb_the_rest(
    world: FakeWorld, estate: Estate, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, however often it is met, and gone when it is over."""
    bad = world.add("bad", trouble=trouble)
    world.add("good")
    world.dead.add(OWNER)
    for _ in range(3):
        estate.round()
    assert [record.name for record in estate.records()] == ["good"]
    assert len(caplog.records) == 1
    with pytest.raises(UnmanageableError, match="'bad'") as caught:
        estate.look("bad")
    assert caught.value.busy == isinstance(trouble, LockTimeoutError)
    bad.trouble = None
    estate.round()
    assert [record.name for record in estate.records()] == ["bad", "good"]


def test_a_table_of_another_namespace_is_not_touched(world: FakeWorld, estate: Estate) -> None:
    """Its processes cannot be told dead from alive from here."""
    world.add("t", foreign_namespace=True)
    world.dead.add(OWNER)
    estate.round()
    with pytest.raises(UnmanageableError, match="namespace"):
        estate.look("t")
    assert not world.moves
