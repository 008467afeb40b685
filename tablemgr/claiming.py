# SPDX-License-Identifier: Apache-2.0
"""Becoming the owner of a table: by the manager's word on one that a dead owner left, or as the maker of a new one."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from functools import partial

from tablemgr import _ffi, protocol, segments, table as tables
from tablemgr.conversation import Connection, Conversations
from tablemgr.errors import (
    AccessError,
    ManagerUnavailableError,
    NotOwnerError,
    TableClosedError,
    TableError,
    TableExistsError,
    TableNotFoundError,
    TableOwnedError,
)
from tablemgr.table import Table

_SAME_TABLE_MAX = 20  # answers that the table has changed, where it has not


class Claims:
    """One client's way to own tables of its instance. manager: whom it asks."""

    def __init__(self, instance: str, manager: Conversations) -> None:
        self._instance = instance
        self._manager = manager

    def claim(
        self,
        doing: str,
        name: str,
        check: Callable[[_ffi.RawInfo], None],
        how: tuple[str, float],
        heir: tuple[int, tuple[int, int], bytes],
        when: tuple[float, float | None],
    ) -> tuple[Table, _ffi.RawInfo] | None:
        """The table, which has become this process's, and how; None: there is none, and this process may create it.

        It is attached to before it is asked for, so that a standby has little left to do when the owner ends. If it is
        dropped meanwhile, the manager says so within a second, and its memory is free. What the manager offers is not
        asked for but taken. check: refuses what is not wanted; how: codec and lock_timeout; when: when this call began,
        and how long it waits.
        """
        asked, until = when
        before, tries = -1, 0
        while True:
            found, is_offered = self._open(name, check, *how)
            try:
                seen = 0 if found is None else found._table_id
                claim = protocol.Claim(name, seen, asked, until)
                instead = partial(self.take_offered, name, found) if found is not None and is_offered else None
                try:
                    reply = self._manager.ask(claim, math.inf if until is None else until, instead)
                except AccessError:  # another user's, which no manager of this user's looks after
                    if found is None or not _claim_alone(found):
                        raise
                    reply = protocol.Given(name)
                if isinstance(reply, protocol.Changed):
                    before, tries = seen, tries + 1 if seen == before else 0
                    if tries > _SAME_TABLE_MAX:
                        raise ManagerUnavailableError(
                            f"{doing}: the manager sees another table {name!r} than this process, or none: it has "
                            "another /dev/shm; use another instance, or a manager that has this one"
                        )
                if isinstance(reply, protocol.Owned):
                    raise TableOwnedError(
                        f"{doing}: table {name!r} is owned by process {reply.pid}, which is alive: use attach() to "
                        f"work with it, or {doing}(..., wait=seconds) to take over when that process ends"
                    )
                if isinstance(reply, protocol.Absent):
                    return None
                if isinstance(reply, protocol.Given) and found is not None:
                    raw = _take_over(found, heir)
                    if raw is not None:
                        taken, found = found, None
                        return taken, raw
            finally:
                if found is not None:
                    found.close()

    def make(
        self, name: str, create: Callable[[str], Table], populate: Callable[[Table], object] | None, heir_data: bytes
    ) -> Table | None:
        """A new table, populated; None if another process was faster.

        Until it is populated it has no heir, so it goes with this process: the change of the heir completes it.
        """
        mark = tables.unfinished.set((self._instance, name))
        try:
            made = create(name)
        except TableExistsError:
            if not tables.is_there(self._instance, name):
                raise
            return None
        finally:
            tables.unfinished.reset(mark)
        if not isinstance(made, Table):
            raise TypeError(f"claim_table: create must return the new Table, not {made.__class__.__name__}")
        if (made.name, made.instance) != (name, self._instance):
            raise ValueError(
                f"claim_table: create made table {made.name!r} of instance {made.instance!r} instead of {name!r} of "
                f"{self._instance!r}; pass the name, and the instance of this client"
            )
        made.setopts(heir=None)  # which it may have, where another thread made it
        try:
            if populate is not None:
                populate(made)
            made._handle.setopts(heir=_ffi.HEIR_MANAGER, heir_data=heir_data)
        except BaseException:
            _undo(made)
            raise
        self._manager.tell(protocol.Watch(name))
        return made

    def take_offered(self, name: str, table: Table, connection: Connection) -> protocol.Reply | None:
        """Become the owner of a table that this user's manager offers, in one step of our own; None if it does not.

        The manager knows this process beforehand, so as to learn how it ends, and hears of the change afterwards. If
        we are killed before it does, it looks at the tables that it keeps, at 200 as it learns of our end, at others in
        its rounds.
        """
        if table.name != name or not table._handle.take_offered():
            return None  # renamed meanwhile, or taken
        connection.mention(protocol.Watch(name))
        return protocol.Given(name)

    def _open(
        self, name: str, check: Callable[[_ffi.RawInfo], None], codec: str, lock_timeout: float
    ) -> tuple[Table | None, bool]:
        """The table, whoever owns it, and whether this user's manager offers it; None if there is none any more."""
        try:
            handle, raw = segments.attach_and_describe(self._instance, name)
        except TableNotFoundError:
            return None, False
        try:
            check(raw)
            is_offered = raw.transfer_reason == _ffi.REASON_OFFERED and raw.uid == os.geteuid()
            return tables.over(handle, raw, self._instance, codec, lock_timeout), is_offered
        except BaseException:
            handle.close()
            raise


def _undo(made: Table) -> None:
    """Drop a table that populate did not complete, and whose handle it may have closed."""
    try:
        made.drop()
    except TableClosedError:
        with (
            contextlib.suppress(TableNotFoundError),
            tables.attach(made.name, codec=made.codec, instance=made.instance) as again,
        ):
            if again._table_id == made._table_id:
                again.drop()


def _claim_alone(table: Table) -> bool:
    """Take an orphan without a manager, as any process may that the segment's mode admits: whether it was one."""
    try:
        table._handle.claim()
    except TableError:
        return False
    return True


def _take_over(table: Table, heir: tuple[int, tuple[int, int], bytes]) -> _ffi.RawInfo | None:
    """Make of a table, which is this process's by the manager's word, what the caller gets.

    What it is: None if the segment says by now that it is not this process's.
    """
    raw = table._handle.describe()
    if raw.dropped or raw.owner != _ffi.self_process():
        return None
    note_transfer(table, raw)
    kind, _, data = heir
    if kind == raw.heir == _ffi.HEIR_MANAGER and data == raw.heir_data:
        return raw  # what an inherited table comes with
    try:
        _name_heir(table._handle, *heir)
    except (TableNotFoundError, NotOwnerError):
        return None
    return raw


def _name_heir(handle: _ffi.Handle, kind: int, process: tuple[int, int], data: bytes) -> None:
    """Change the heir of a table that this process has just come to own.

    A process may have died since it was looked at. The manager is next after a dead heir in any case, so it is named.
    """
    try:
        handle.setopts(heir=kind, heir_process=process, heir_data=data)
    except TableNotFoundError:
        raise
    except LookupError:
        handle.setopts(heir=_ffi.HEIR_MANAGER, heir_data=data)


def note_transfer(table: Table, raw: _ffi.RawInfo) -> None:
    """Tell from the segment whether this process is the first owner of the table.

    What came with it is decoded when it is asked for: that may fail, and the table is this process's by now.
    """
    table._came = None if raw.transfer_reason == _ffi.REASON_NEVER else raw
