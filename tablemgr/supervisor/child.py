# SPDX-License-Identifier: Apache-2.0
"""What a supervisor runs: `Child`. Every worker imports this, so it needs little."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tablemgr.client import Client

# More seconds than this are for ever: the system's calls take no more milliseconds than an int holds.
_FOR_EVER = 1e6


@dataclass(frozen=True)
class Child:
    """A worker: what to run, when to run it again, and the tables that it owns.

    name: for people and events, unique in its supervisor. target, args, kwargs: as for `multiprocessing.Process`; a
    target may be a `Supervisor`, with shutdown=None, which makes a tree of them.
    restart: "permanent" (always run again), "transient" (unless its exit code was 0), "temporary" (never, and it is
    forgotten when it has ended).
    shutdown: seconds between SIGTERM and SIGKILL when it is stopped; 0: SIGKILL at once; None or inf: no SIGKILL.
    tables: options of `new_table` by table name; opened in the child before target runs, each start anew, and given to
    target as keyword argument `tables`, a dict of Table by name (no such argument if there are none). A target that has
    neither a parameter `tables` nor `**kwargs` is not given them: its process owns them, and `new_table` with the same
    options hands them out.
    carry_on: go on when the supervisor dies without having stopped it, instead of ending.

    In the child SIGINT is ignored, because a Ctrl-C at the terminal reaches the supervisor too, which ends its children
    in order; SIGTERM ends the process unless target arranges otherwise. If the supervisor dies, however that happens,
    a child that does not carry on gets SIGTERM, and SIGKILL after `shutdown` seconds: a thread in the child sees to it,
    so a process that is stopped, or never lets Python's threads run, ends as soon as it goes on.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    shutdown: float | None = 5.0
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    carry_on: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError("a child needs a name")
        if not callable(self.target):
            raise TypeError(f"child {self.name!r}: target must be callable, not {type(self.target).__name__}")
        if self.restart not in ("permanent", "transient", "temporary"):
            raise ValueError(f"child {self.name!r}: restart is permanent, transient or temporary, not {self.restart!r}")
        if self.shutdown is not None and not self.shutdown >= 0:
            raise ValueError(f"child {self.name!r}: shutdown must not be negative, this is {self.shutdown}")
        if self.tables and "tables" in self.kwargs:
            raise ValueError(f"child {self.name!r}: `tables` is the argument that its tables come in; rename the other")
        new_table = inspect.signature(Client.new_table)
        for table, options in self.tables.items():
            try:
                new_table.bind(None, table, **options)
            except TypeError as error:
                raise TypeError(f"child {self.name!r}, table {table!r}: {error}; see new_table for options") from None

    @property
    def patience(self) -> float | None:
        """`shutdown`, with None for all that is for ever."""
        return None if self.shutdown is None or self.shutdown > _FOR_EVER else self.shutdown

    @property
    def stands_in_line(self) -> bool:
        """Whether it may wait for one of its tables, as a standby does."""
        return any(options.get("wait", 0.0) != 0 for options in self.tables.values())

    def is_run_again(self, code: int | None) -> bool:
        """Whether it is run again after it ended by itself with this exit code (None: unknown)."""
        return self.restart == "permanent" or (self.restart == "transient" and code != 0)
