# SPDX-License-Identifier: Apache-2.0
"""What `top` shows: frames, each made of two looks at an instance and what happened between them. Only facts: nothing
here looks, and nothing draws."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from tablemgr.cli.words import is_closed
from tablemgr.segments import Process, Sighting, TableInfo

State = Literal["owned", "orphan", "kept", "damaged", "closed"]
EventKind = Literal[
    "appeared",
    "gone",
    "renamed",
    "owner died",
    "owner",
    "heir",
    "heir died",
    "access",
    "repairs",
    "damaged",
    "usable",
    "waiting",
    "manager up",
    "manager down",
]


@dataclass(frozen=True, slots=True)
class ManagerState:
    """The manager: its process (None: none runs, or it does not answer), and who stands in line for which table."""

    process: Process | None = None
    answers: bool = True
    waiting: tuple[tuple[str, Process], ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """An instance at one moment. when: epoch seconds; clock: seconds that only ever grow, to measure spans with."""

    instance: str
    when: float
    clock: float
    manager: ManagerState
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that two looks show to have happened. when: epoch seconds, of the change of owners if it is one, else
    of the second look.

    table: None where it is the manager; process: whom it is about; detail: a word that belongs to the kind; from_: the
    owner before, where there is another; exit: how the owner before ended, as in subprocess, None if it did not or
    nobody was told."""

    when: float
    table: str | None
    kind: EventKind
    process: Process | None = None
    detail: str = ""
    from_: Process | None = None
    exit: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A table in a frame.

    growth: bytes per second by which what is in use grew; changes: rows added, replaced or deleted per second, as far
    as that shows (see `compare`); both None until there are two looks. waiting: who stands in line for it."""

    info: TableInfo
    growth: float | None = None
    changes: float | None = None
    waiting: tuple[Process, ...] = ()

    @property
    def state(self) -> State:
        """owned by a live process; orphan: claim it; kept by a manager for a successor; damaged; closed: another
        user's, who lets nobody look."""
        if self.info.damaged is not None:
            return "closed" if is_closed(self.info) else "damaged"
        if self.info.orphan:
            return "orphan"
        return "kept" if self.info.kept else "owned"


@dataclass(frozen=True, slots=True)
class Frame:
    """What there is to show: lines in the order of names, events with the oldest first."""

    instance: str
    when: float
    manager: ManagerState
    lines: tuple[Line, ...]
    events: tuple[Event, ...] = ()


# -- two looks ------------------------------------------------------------------------------------------------------


def compare(before: Look | None, now: Look) -> Frame:
    """A frame of the later of two looks; the first one of all knows no rates and no events.

    Rates: a change is a block of a row given up, which each replaced and each deleted row does, or a row more. A row
    that came and went between two looks counts once, a block of the index (an ordered_set's nodes, logs of multi-row
    writes) counts like a row, and rows that went in one piece count as their memory is tidied up."""
    earlier = {} if before is None else {one.info.name: one for one in before.sightings}
    span = 0.0 if before is None else now.clock - before.clock
    lines = tuple(_line(earlier.get(one.info.name), one, span, now.manager) for one in now.sightings)
    events = () if before is None else tuple(sorted(_events(before, now), key=lambda event: event.when))
    return Frame(now.instance, now.when, now.manager, lines, events)


def _same(before: Sighting, now: Sighting) -> bool:
    """Whether it is the same table; what is too damaged to tell is taken to be."""
    return not before.table_id or not now.table_id or before.table_id == now.table_id


def _line(before: Sighting | None, now: Sighting, span: float, manager: ManagerState) -> Line:
    waiting = tuple(process for name, process in manager.waiting if name == now.info.name)
    if before is None or span <= 0 or not now.table_id or before.table_id != now.table_id:
        return Line(now.info, waiting=waiting)
    changed = max(0, now.retired - before.retired) + max(0, now.info.rows - before.info.rows)
    return Line(now.info, (now.info.bytes_used - before.info.bytes_used) / span, changed / span, waiting)


def _events(before: Look, now: Look) -> Iterable[Event]:
    yield from _manager_events(before.manager, now)
    earlier = {one.info.name: one for one in before.sightings}
    later = {one.info.name: one for one in now.sightings}
    ids_before = {one.table_id: name for name, one in earlier.items() if one.table_id}
    ids_now = {one.table_id: name for name, one in later.items() if one.table_id}
    for name in sorted({*earlier, *later}):
        old, new = earlier.get(name), later.get(name)
        if old is not None and new is not None and _same(old, new):
            yield from _changes(old, new, now.when)
            continue
        if old is not None:
            new_name = ids_now.get(old.table_id)
            yield Event(now.when, name, "renamed" if new_name else "gone", detail=new_name or "")
        if new is not None and new.table_id not in ids_before:
            yield Event(now.when, name, "appeared", new.info.owner)


def _manager_events(before: ManagerState, now: Look) -> Iterable[Event]:
    old, new = before.process, now.manager.process
    same = old is not None and new is not None and (old.pid, old.start) == (new.pid, new.start)
    if old is not None and not same and now.manager.answers:
        yield Event(now.when, None, "manager down", old)
    if new is not None and not same and before.answers:
        yield Event(now.when, None, "manager up", new)
    stood = {(name, process.pid, process.start) for name, process in before.waiting}
    for name, process in now.manager.waiting:
        if (name, process.pid, process.start) not in stood:
            yield Event(now.when, name, "waiting", process)


def _changes(old: Sighting, new: Sighting, when: float) -> Iterable[Event]:
    """What happened to a table between two looks."""
    was, info = old.info, new.info
    if was.damaged is None and info.damaged is not None and not is_closed(info):
        yield Event(when, info.name, "damaged", detail=info.damaged)
    elif was.damaged is not None and info.damaged is None:
        yield Event(when, info.name, "usable")
    if was.owner is None or info.owner is None:
        return
    moved = old.transfers != new.transfers
    owner_now = new.previous if moved and new.previous is not None else info.owner
    died = was.owner.alive and not owner_now.alive and _is(was.owner, owner_now)
    if moved:  # whoever gave it away and died was not its owner any more
        yield from transfer(new, when, died and new.reason != "gift")
    elif died:
        yield Event(when, info.name, "owner died", owner_now)
    if _heir_word(was) != _heir_word(info):
        yield Event(when, info.name, "heir", info.heir if isinstance(info.heir, Process) else None, _heir_word(info))
    elif isinstance(was.heir, Process) and isinstance(info.heir, Process) and was.heir.alive and not info.heir.alive:
        yield Event(when, info.name, "heir died", info.heir)
    if was.access != info.access:
        yield Event(when, info.name, "access", detail=info.access)
    if info.repairs > was.repairs:
        yield Event(when, info.name, "repairs", detail=str(info.repairs - was.repairs))


def transfer(sighting: Sighting, when: float, died: bool) -> Iterable[Event]:
    """How a table came to its owner; died: what became of the one before is news as well. when: if the table does not
    say it."""
    info, before = sighting.info, sighting.previous
    when = when if sighting.transferred is None else sighting.transferred
    if died:
        yield Event(when, info.name, "owner died", before, exit=sighting.exit)
    how = "kept" if info.kept else sighting.reason or ""
    yield Event(when, info.name, "owner", info.owner, how, before, sighting.exit)


def _is(one: Process, other: Process) -> bool:
    return (one.pid, one.start) == (other.pid, other.start)


def _heir_word(info: TableInfo) -> str:
    return f"pid {info.heir.pid}" if isinstance(info.heir, Process) else info.heir or "none"


# -- which lines, and in which order --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column that lines can be sorted by: by `key`, where None comes last; numbers largest first."""

    key: Callable[[Line], Any]
    largest_first: bool = False


COLUMNS: Final[Mapping[str, Column]] = {
    "name": Column(lambda line: line.info.name),
    "type": Column(lambda line: line.info.type or None),
    "rows": Column(lambda line: line.info.rows if line.info.type else None, True),
    "changes": Column(lambda line: line.changes, True),
    "growth": Column(lambda line: line.growth, True),
    "used": Column(lambda line: line.info.bytes_used if line.info.type else None, True),
    "memory": Column(lambda line: line.info.bytes_reserved, True),
    "state": Column(lambda line: line.state),
    "owner": Column(lambda line: line.info.owner and line.info.owner.pid),
    "heir": Column(lambda line: _heir_word(line.info) if line.info.type else None),
    "waiting": Column(lambda line: len(line.waiting), True),
    "repairs": Column(lambda line: line.info.repairs if line.info.type else None, True),
    "access": Column(lambda line: line.info.access or None),
    "age": Column(lambda line: line.info.created),
}
"""What `top` shows of a table, in the order in which it does."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which lines are shown, and how: `column` is one of COLUMNS; reverse: the other way than is usual for it.

    name: lines whose table's name contains this, whatever the case, or matches it, where it has a `*`, `?` or `[`."""

    column: str = "name"
    reverse: bool = False
    name: str = ""

    def of(self, lines: Iterable[Line]) -> list[Line]:
        """The lines that are chosen, in order; where they are equal, by name."""
        column = COLUMNS[self.column]
        chosen = sorted((line for line in lines if self._admits(line.info.name)), key=lambda line: line.info.name)
        known = [line for line in chosen if column.key(line) is not None]
        known.sort(key=column.key, reverse=column.largest_first != self.reverse)
        return known + [line for line in chosen if column.key(line) is None]

    def _admits(self, name: str) -> bool:
        wanted, name = self.name.casefold(), name.casefold()
        if any(character in wanted for character in "*?["):
            return fnmatch.fnmatchcase(name, wanted)
        return wanted in name


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame with the choice of its lines that is shown."""

    frame: Frame
    choice: Choice

    @property
    def lines(self) -> list[Line]:
        """The chosen lines in order."""
        return self.choice.of(self.frame.lines)


# -- into a table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RowsPage:
    """A page of a table's rows as they were when it was fetched.

    number: from 0; keypos: where the key stands; total: rows in the table; is_last: no more rows match. trouble: why
    there are none to show, or empty."""

    table: str
    pattern: str
    rows: tuple[tuple[Any, ...], ...] = ()
    number: int = 0
    keypos: int = 0
    total: int = 0
    is_last: bool = True
    trouble: str = ""


class Pager(Protocol):
    """The pages of a table's rows that match a pattern: the present one anew, the next, the one before. Each call
    fetches, and returns trouble as a page."""

    def here(self) -> RowsPage:
        """The present page, as it is now."""

    def forward(self) -> RowsPage:
        """The next page; the present one if it is the last."""

    def back(self) -> RowsPage:
        """The page before; the present one if it is the first."""
