# SPDX-License-Identifier: Apache-2.0
"""What a command hands to the renderer: frozen snapshots, fetched and complete.

A command fetches and returns an `Answer`; only `render` turns it into text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tablemgr.cli.exits import ExitStatus
from tablemgr.cli.frames import Event, Shown
from tablemgr.segments import Process, TableInfo


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of an instance."""

    instance: str
    tables: tuple[TableInfo, ...]


@dataclass(frozen=True, slots=True)
class Detail:
    """Everything known of one table."""

    info: TableInfo


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance in figures: its manager (None: none runs) and since when (epoch seconds), sums over its tables
    (memory in bytes), and who stands in line for which table."""

    instance: str
    manager: Process | None
    since: float | None
    socket: str
    tables: int
    rows: int
    bytes_reserved: int
    orphans: int
    kept: int
    damaged: int
    waiting: tuple[tuple[str, Process], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table in the table's own order, or what else was made of them: then there is no `keypos`.

    `rows` may be an iterator that the command prepared: it is consumed once, and nothing else is asked of the table.
    `total` counts all rows there are to show at the time of asking, if that is known; `more` says that there are."""

    table: str
    keypos: int | None
    rows: Iterable[object]
    total: int | None
    paged: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class Events:
    """What happened, in order. `events` may be an iterator that the command prepared: it is consumed once, and each is
    shown before the next is asked for."""

    events: Iterable[Event]


@dataclass(frozen=True, slots=True)
class Checked:
    """Result of `check`: for each table the invariants found broken."""

    problems: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Done:
    """Something was done. `text` says what to a person, `facts` to a program."""

    text: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Text that another program is to read as it is, or its `facts` in JSON."""

    text: str
    facts: object


@dataclass(frozen=True, slots=True)
class Nothing:
    """The command has said what there was to say."""


Snapshot = Tables | Detail | Instance | Shown | Rows | Events | Checked | Done | Text | Nothing


@dataclass(frozen=True, slots=True)
class Answer:
    """A snapshot to show and the exit code to end with. `remark` goes to standard error: what part did not work."""

    snapshot: Snapshot
    status: ExitStatus = ExitStatus.OK
    remark: str = ""
