# SPDX-License-Identifier: Apache-2.0
"""What a supervisor runs: `Child`. Every worker imports this, so it needs little."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tablemgr.client import Client
from tablemgr.options import check_options, seconds_of
from tablemgr.segment_names import segment_name

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
        if not isinstance(self.name, str):
            raise TypeError(f"the name of a child must be a str, not {type(self.name).__name__}")
        if not self.name:
            raise ValueError("a child needs a name")
        with _said_of(f"child {self.name!r}"):
            self._check()

    def _check(self) -> None:
        """Raise TypeError or ValueError for what would keep every process of this child from running."""
        if not callable(self.target):
            raise TypeError(f"target must be callable, not {type(self.target).__name__}")
        if isinstance(self.args, (str, bytes)) or not isinstance(self.args, Sequence):
            raise TypeError(f"args must be a tuple of arguments, (x,) for a single one, not {type(self.args).__name__}")
        _check_mapping(self.kwargs, "kwargs must be a dict of arguments by their names")
        _check_mapping(self.tables, "tables must be a dict of options of new_table by the names of the tables")
        if self.restart not in ("permanent", "transient", "temporary"):
            raise ValueError(f"restart is permanent, transient or temporary, not {self.restart!r}")
        _check_seconds(self.shutdown, "shutdown")
        if self.tables and "tables" in self.kwargs:
            raise ValueError("`tables` is the argument that its tables come in; rename the other")
        for name, options in self.tables.items():
            with _said_of(f"table {name!r}"):
                _check_mapping(options, "its options must be a dict, as for new_table")
                _check_table(name, options)

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


@contextlib.contextmanager
def _said_of(what: str) -> Iterator[None]:
    """Errors in the block begin with what they are about."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _check_mapping(value: object, rule: str) -> None:
    """Raise TypeError with the rule unless this is a mapping with keys of str."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{rule}, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{rule}; a name must be a str, not {type(key).__name__}")


def _check_seconds(value: object, what: str) -> None:
    """Raise TypeError or ValueError unless one can wait so long; None: for ever."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds or None, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{what} must be a number of seconds from 0 up, not {value}")


def _check_table(name: str, options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for what `new_table` would refuse wherever it is called.

    Who the heir is, is left for then: it may be a name that nobody has registered yet."""
    segment_name("-", name)
    try:
        inspect.signature(Client.new_table).bind(None, name, **options)
    except TypeError as error:
        raise TypeError(f"{error}; see new_table for options") from None
    _check_seconds(options.get("wait"), "wait")
    seconds_of(options.get("lock_timeout", 0.0), "lock_timeout")
    kinds = {key: value for key, value in options.items() if key not in ("wait", "lock_timeout", "heir")}
    check_options(heir=None if options.get("heir", "manager") is None else "manager", **kinds)
