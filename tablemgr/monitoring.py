# SPDX-License-Identifier: Apache-2.0
"""Watching the owners of one table, for a process that wants to be told of their deaths (claim_table(monitor=True))."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import Final

from tablemgr import _ffi, processes, segment_names
from tablemgr._ffi import Handle, RawInfo
from tablemgr.errors import TableError
from tablemgr.mailbox import OwnerDied
from tablemgr.segments import Process

_ROUND_SECONDS: Final = 1.0  # between two looks for a new owner of whom nothing was heard
_HAND_OVER_SECONDS: Final = 1.0  # how long a manager is waited for to take a dead owner's table and say how it ended
_HURRY_SECONDS: Final = 0.005  # between two looks meanwhile


class Monitor:
    """The deaths of one table's owners, from now on. Not thread-safe: its listener locks.

    A table remembers one transfer. So of several owners that came and went between two looks, the last one's death is
    told; of a table that has gone, that of its last owner.
    """

    def __init__(self, instance: str, name: str, epoll: select.epoll | None = None) -> None:
        self._epoll = epoll  # where its listener registers the pidfd
        self._handle = Handle.attach(segment_names.segment_name(instance, name), _ffi.MAP_HEAD, name)
        raw = self._handle.describe()
        self.table_id = raw.table_id
        self._seq = raw.transfer_seq  # of the last transfer looked at
        self._owner: tuple[int, int] | None = None  # whose pidfd it is
        self._since: float | None = None  # when a death was noticed that is not told yet
        self._told: tuple[int, int] | None = None  # the owner last told of
        self.pidfd: int | None = None  # readable when there is something to look at
        self.due = 0.0  # when to look although it is not
        self._watch(raw)

    def look(self, has_manager: bool) -> tuple[list[OwnerDied], bool]:
        """What there is to tell, and whether the table still exists; never waits.

        has_manager: one runs, so the table of a dead owner will be somebody's soon.
        """
        now = time.monotonic()
        if now < self.due and not (self.pidfd is not None and processes.has_ended(self.pidfd)):
            return [], True
        raw = self._handle.describe()
        if not raw.owner_alive:
            with contextlib.suppress(TableError, OSError):  # dropped, or locked: the death is told all the same
                self._handle.settle()
            raw = self._handle.describe()
        died: tuple[int, int] | None = None
        is_whole = True  # all of a manager's work is done
        if raw.transfer_seq != self._seq and raw.transfer_reason != _ffi.REASON_GIFT:
            died, is_whole = raw.transfer_from, raw.transfer_end != _ffi.END_OPEN
        elif not raw.owner_alive:
            died, is_whole = raw.owner, False  # an orphan, or gone with its owner
        if died == self._told:
            died = None
        if died is not None and not is_whole and has_manager and not raw.dropped:
            self._since = now if self._since is None else self._since
            if now < self._since + _HAND_OVER_SECONDS:
                self.due = now + _HURRY_SECONDS
                self._silence()  # it is readable until it is closed
                return [], True
        # where this process is the owner, its mailbox tells of the death before
        told = []
        if died is not None:
            self._told = died
            if raw.owner != _ffi.self_process():
                told.append(self._death(raw, died))
        if not raw.dropped:
            self._watch(raw)
        return told, not raw.dropped

    @property
    def is_waiting(self) -> bool:
        """Whether a death was noticed that is not told yet: then `due` says when to look, not the pidfd."""
        return self._since is not None

    def close(self) -> None:
        """End the use of handle and descriptor."""
        self._unwatch()
        self._handle.close()

    def after_fork_in_child(self) -> None:
        """Close the descriptor only: what polls it is the parent's."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def _death(self, raw: RawInfo, process: tuple[int, int]) -> OwnerDied:
        if raw.transfer_end == _ffi.END_KNOWN and raw.transfer_from == process:
            status: int | None = raw.transfer_exit
        else:
            status = processes.exit_status(*process, self.pidfd if self._owner == process else None)
        return OwnerDied(raw.name, Process(*process, alive=False), status)

    def _watch(self, raw: RawInfo) -> None:
        self.due = time.monotonic() + _ROUND_SECONDS
        self._seq, self._since = raw.transfer_seq, None
        if raw.owner == self._owner and raw.owner_alive:
            return
        self._unwatch()
        if raw.owner != _ffi.self_process() and raw.owner_alive:  # of a dead one it would be readable for ever
            with contextlib.suppress(OSError):
                self.pidfd = processes.open_pidfd(*raw.owner)
            self._owner = raw.owner if self.pidfd is not None else None

    def _unwatch(self) -> None:
        self._silence()
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.pidfd = self._owner = None

    def _silence(self) -> None:
        if self.pidfd is not None and self._epoll is not None:
            with contextlib.suppress(OSError):  # closing is not enough where a forked child has it, too
                self._epoll.unregister(self.pidfd)
