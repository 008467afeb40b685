# SPDX-License-Identifier: Apache-2.0
"""What the manager decides, as functions of what it sees: no processes, no sockets, no segments, no clock.

A table, for the manager, is a `Record`: what its segment said a moment ago, after a death had been settled. The
processes that want it stand in the `Line`. `next_answer` says who is to be told what; `server` carries it out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Identity(NamedTuple):
    """A process: pid and start time in clock ticks since boot."""

    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class Record:
    """A table as its segment described it. held: the manager owns it as heir, for whoever comes to claim it."""

    name: str
    table_id: int
    owner: Identity
    created: int  # nanoseconds since the epoch
    held: bool


@dataclass(frozen=True, slots=True)
class Waiter:
    """A process that wants to own table `name`.

    key tells the waiters apart, table_id is the table that it looked at (0: none), asked its place in the line and
    deadline the end of its patience (None: never), both in seconds of the monotonic clock.
    """

    key: int
    name: str
    table_id: int
    asker: Identity
    asked: float
    deadline: float | None


class Verdict(enum.Enum):
    """What is to be told to a waiter."""

    GIVE = "give"  # the manager holds it: give it away, then say so
    YOURS = "yours"  # it is the asker's already
    CREATE = "create"  # there is none
    LOOK_AGAIN = "look again"  # another table has the name than the one that the asker looked at
    OWNED = "owned"  # somebody alive owns it


def judge(record: Record | None, waiter: Waiter) -> Verdict:
    """What `waiter` would be told if nobody stood in line before it. record: None if there is no such table."""
    if record is None:
        return Verdict.CREATE if waiter.table_id == 0 else Verdict.LOOK_AGAIN
    if record.table_id != waiter.table_id:
        return Verdict.LOOK_AGAIN
    if record.held:
        return Verdict.GIVE
    return Verdict.YOURS if record.owner == waiter.asker else Verdict.OWNED


def next_answer(record: Record | None, line: Sequence[Waiter]) -> tuple[Waiter, Verdict] | None:
    """Who of the line is told something now, and what; None if all of them go on waiting.

    First come, first served: what only one can get (the table, or leave to create it) goes to the first in line.
    """
    for waiter in line:
        verdict = judge(record, waiter)
        if record is None or verdict is not Verdict.OWNED:
            return waiter, verdict
    return None


class Line:
    """Who waits for which table, in the order of asking; any number of waiters and tables."""

    def __init__(self) -> None:
        self._waiters: dict[int, Waiter] = {}
        self._by_name: dict[str, dict[int, Waiter]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: int) -> bool:
        return key in self._waiters

    def join(self, waiter: Waiter) -> None:
        """Take a place, by the time of asking; the line of a restarted manager re-forms as it was."""
        self._waiters[waiter.key] = waiter
        self._by_name.setdefault(waiter.name, {})[waiter.key] = waiter

    def leave(self, key: int) -> None:
        """Give the place up, if there is one."""
        waiter = self._waiters.pop(key, None)
        if waiter is not None:
            line = self._by_name[waiter.name]
            del line[key]
            if not line:
                del self._by_name[waiter.name]

    def of(self, name: str) -> list[Waiter]:
        """The line for one table."""
        line = self._by_name.get(name)
        return sorted(line.values(), key=_place) if line else []

    def all(self) -> list[Waiter]:
        """Everybody, in the order of asking."""
        return sorted(self._waiters.values(), key=_place)

    def names(self) -> list[str]:
        """The tables that somebody waits for, longest wait first."""
        return list(dict.fromkeys(waiter.name for waiter in self.all()))


def _place(waiter: Waiter) -> tuple[float, int]:
    return waiter.asked, waiter.key


def in_order(records: Iterable[Record]) -> list[Record]:
    """Tables in the order of their creation: the order in which they move when one death frees several."""
    return sorted(records, key=lambda record: (record.created, record.name))


def to_watch(owners: Iterable[Identity], peers: Iterable[Identity], manager: Identity) -> set[Identity]:
    """The processes whose end concerns the manager: owners and clients, but not itself."""
    return {*owners, *peers} - {manager}
