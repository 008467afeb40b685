# SPDX-License-Identifier: Apache-2.0
"""`TableKeeper`: a table that is pushed to the process of a name whenever that is up, and comes back when it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from types import TracebackType
from typing import Any, Final

from tablemgr import _ffi, mailbox, names, processes, segment_names, segments, table as tables
from tablemgr.errors import TableClosedError, TableError, TableExistsError, TableNotFoundError, TableOwnedError
from tablemgr.options import check_match, check_options
from tablemgr.table import Table

_POLL_SECONDS: Final = 0.02  # between two looks whether somebody has taken the name
_ROUND_SECONDS: Final = 1.0  # between two looks at the owner: it may have given the table away

_log = logging.getLogger("tablemgr")


class TableKeeper:
    """Keeps one table for the process that is registered as `target`, from now until `close`.

    Whenever a live process has that name (`register`), it is made the owner, and told by a `TableTransfer` with reason
    "gift" and `data`. When it ends, however it ends, the table comes back to this process, which is its heir, with all
    rows, and waits for the next one of that name. The target has but to register and to read its events.

    target: the name; name: of the table; data: a value for each new owner; options: those of `create` but the heir,
    which is this process. The table is made, or taken as it is where a dead owner left it or a live one has it.
    Raises TableMismatchError if it is of another type, key position or codec, and as `create`.

    Needs no manager. Guarantee: the table belongs to somebody at every moment; a target that dies while the table is
    given to it loses nothing. If this process dies, the table stays with its owner, and then is an orphan like any
    other, which a new keeper, or a manager, takes up.
    """

    def __init__(
        self, target: str, name: str, *, data: Any = None, instance: str | None = None, **options: Any
    ) -> None:
        for key in ("heir", "heir_data"):
            if key in options:
                raise TypeError(f"TableKeeper: {key} cannot be chosen: the keeper is the heir")
        self.instance = segment_names.resolve_instance(instance)
        self.target = target
        self._data = data
        names.whereis(self.instance, target)  # refuses what cannot be a name
        self._table = self._open(name, options)
        self._mailbox = mailbox.mailbox(self.instance)
        self._ended = os.eventfd(0, os.EFD_CLOEXEC)  # -1: closed
        self._is_ended = False
        self._closing = threading.RLock()  # a signal handler may close what is being closed
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=f"tablemgr keeper {name}", daemon=True)
        self._mailbox.mute(self._table._table_id)  # that it comes back is no news
        try:
            self._thread.start()
        except BaseException:
            self.close()
            raise

    @property
    def table(self) -> Table:
        """The table, whoever owns it now; what this process may do with it is a matter of its access."""
        return self._table

    @property
    def running(self) -> bool:
        """Whether it keeps the table: until `close`, or until somebody drops the table."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Keep the table no longer: it stays with its owner, also if that is this process. Idempotent."""
        if os.getpid() != self._pid:  # a forked process may leave the with block, too: the keeper is its parent's
            self._table.close()
            return
        with self._closing:
            if self._ended < 0:
                return
            self._is_ended = True
            os.eventfd_write(self._ended, 1)
            if self._thread.is_alive():
                self._thread.join()  # if a signal handler raises here, close can be called again
            ended, self._ended = self._ended, -1
            if ended >= 0:  # else a signal handler has called this meanwhile
                os.close(ended)
            with contextlib.suppress(TableError):  # else it is closed, and whatever has become of the table is not told
                self._mailbox.unmute(self._table._handle.describe())
            self._table.close()

    def __enter__(self) -> TableKeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TableKeeper of {self._table.name!r} for {self.target!r} in instance {self.instance!r}>"

    def _open(self, name: str, options: dict[str, Any]) -> Table:
        wanted = check_options(
            **{key: value for key, value in options.items() if key != "lock_timeout"}, instance=self.instance
        )
        while True:
            try:
                return tables.create(name, heir=os.getpid(), instance=self.instance, **options)
            except TableExistsError:
                kept = {key: options[key] for key in ("codec", "lock_timeout") if key in options}
                with contextlib.suppress(TableNotFoundError):  # dropped just now
                    table = tables.attach(name, instance=self.instance, **kept)
                    try:
                        check_match(table._handle.describe(), wanted, "TableKeeper")
                    except BaseException:
                        table.close()
                        raise
                    return table

    def _run(self) -> None:
        trouble = ""
        while not self._is_ended:
            try:
                if not self._turn():
                    return
                trouble = ""
            except (TableNotFoundError, TableClosedError):
                return  # dropped, or the program has closed the handle: there is nothing to keep
            except Exception as error:  # no descriptors, a lock that a stopped process holds: it may be better soon
                if trouble != (trouble := repr(error)):
                    _log.exception("the keeper of table %r for %r tries again", self._table.name, self.target)
                self._pause(None, _ROUND_SECONDS)

    def _turn(self) -> bool:
        """One step towards the table being the target's; False if there is no table any more."""
        handle = self._table._handle
        raw = handle.describe()
        if raw.dropped:
            return False
        if raw.owner == _ffi.self_process() and not raw.kept:
            self._push()
        elif raw.owner_alive and not raw.kept:
            self._wait_for_end(raw.owner)
        elif not raw.owner_alive and handle.settle() == _ffi.NO_TABLE:
            return False
        else:
            with contextlib.suppress(TableOwnedError):  # another was faster
                handle.claim(_ffi.CLAIM_ORPHAN_OR_KEPT)
        return True

    def _push(self) -> None:
        """Make the target the owner, if there is one."""
        version = names.version(self.instance)
        found = names.whereis(self.instance, self.target)
        if found is None or found == _ffi.self_process():
            for _ in range(int(_ROUND_SECONDS / _POLL_SECONDS)):
                if self._pause(None, _POLL_SECONDS) or names.version(self.instance) != version:
                    return
            return
        self._table.setopts(heir=os.getpid())
        try:
            self._table.give_away(segments.Process(*found, alive=True), self._data)
        except LookupError as error:
            if isinstance(error, TableError):
                raise
            self._pause(None, _POLL_SECONDS)  # it died just before: the table is still here

    def _wait_for_end(self, owner: tuple[int, int]) -> None:
        pidfd = processes.open_pidfd(*owner)
        if pidfd is not None:
            try:
                self._pause(pidfd, _ROUND_SECONDS)
            finally:
                os.close(pidfd)

    def _pause(self, pidfd: int | None, seconds: float) -> bool:
        """Wait for the end of a process, or of this keeper: whether it was the latter."""
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        if pidfd is not None:
            poll.register(pidfd, select.POLLIN)
        return any(descriptor == self._ended for descriptor, _ in poll.poll(seconds * 1000))
