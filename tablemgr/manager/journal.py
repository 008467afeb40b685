# SPDX-License-Identifier: Apache-2.0
"""What happens in a manager: each kind of event has a name, is counted for the metrics, and is a line of the log.

The words of `Event` are what an administrator greps for and graphs: they stay as they are.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from typing import Any

_log = logging.getLogger("tablemgr.manager")


class Event(str, enum.Enum):
    """What can happen; in brackets the fields that the line of the log has."""

    SERVING = "serving"  # the manager is up [instance, pid, tables, metrics: where they are]
    ENDING = "ending"  # it was told to end [clients, waiting]
    ENDED = "ended"  # it has ended [instance]
    CONNECTED = "connected"  # a client was greeted [pid]
    REFUSED = "refused"  # a request or a connection was refused [pid, code, reason]
    CUT_OFF = "cut_off"  # a client did not read its answers [pid]
    CLAIM = "claim"  # a process asked to own a table [table, pid]
    DEATH = "death"  # a process ended that owned tables [pid, tables]
    INHERITED = "inherited"  # the manager keeps the table of a dead owner [table, previous]
    GIVEN = "given"  # a kept table was handed to a claimant [table, pid]
    ROUND_FAILED = "round_failed"  # the look at all tables met an error [reason]
    LOADED = "loaded"  # a table was made from a file [table, path, rows]
    LOAD_FAILED = "load_failed"  # it was not [path, reason, and where the file was put aside]
    SAVED = "saved"  # a table was written to its file [table, path, rows, seconds]
    SAVE_FAILED = "save_failed"  # it was not; the file is as it was [table, path, reason]
    REOPENED = "reopened"  # the log file was opened anew [path]
    REOPEN_FAILED = "reopen_failed"  # it was not, the old one is written on [path, reason]


class Told:
    """One event as a record of the log carries it; str() is for handlers that know nothing of fields."""

    __slots__ = ("event", "fields")

    def __init__(self, event: Event, fields: dict[str, Any]) -> None:
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.event.value, *(f"{name}={value!r}" for name, value in self.fields.items())])


class Journal:
    """Counts events since the manager's start, and logs them. Counting is for one thread, reading for any."""

    def __init__(self) -> None:
        self.counts: Counter[Event] = Counter()

    def note(
        self, event: Event, level: int = logging.INFO, *, error: BaseException | None = None, **fields: Any
    ) -> None:
        """One event, with the fields that `Event` names for it; error: its traceback belongs into the log."""
        self.counts[event] += 1
        if _log.isEnabledFor(level):
            told = Told(event, fields)
            _log.log(level, "%s", told, exc_info=error, extra={"told": told})
