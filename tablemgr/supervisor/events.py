# SPDX-License-Identifier: Apache-2.0
"""What a supervisor tells of its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tablemgr.errors import TableError
from tablemgr.segments import Process, TableTransfer


class TooManyRestartsError(TableError, RuntimeError):
    """A supervisor's children died more often than it may restart them; it has stopped them all."""


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A child as `which_children` tells of it.

    process: what runs it now, None if nothing does. starts: how often it was started. exit: the exit code of its last
    process that ended (negative: the signal that killed it), None if none has, or if it is unknown.
    """

    name: str
    process: Process | None
    starts: int
    exit: int | None


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A child runs; when: epoch seconds. restarts: how often it was started before."""

    name: str
    process: Process
    when: float
    restarts: int


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child ended. exit: its exit code, negative: the signal that killed it, None: unknown; when: epoch seconds."""

    name: str
    process: Process
    exit: int | None
    when: float


@dataclass(frozen=True, slots=True)
class TableHandedBack:
    """A started child has one of its tables in hand.

    transfer: from whom and why (None: the table is new). latency: seconds from the moment when the end of the child's
    predecessor was noticed until the table was in the successor's hand; None for a first start. when: epoch seconds.
    """

    child: str
    table: str
    transfer: TableTransfer | None
    when: float
    latency: float | None


Event: TypeAlias = ChildStarted | ChildExited | TableHandedBack
