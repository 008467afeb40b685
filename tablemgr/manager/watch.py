# SPDX-License-Identifier: Apache-2.0
"""Learning of deaths: of each process of interest a pidfd, and its lifeline where it has shown one."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import weakref
from collections.abc import Callable, Iterable

from tablemgr import processes
from tablemgr.manager.decisions import Identity
from tablemgr.manager.lifelines import Lifelines

_UCRED = struct.Struct("3i")
_EXITS_KEPT = 1024  # of processes that have ended
_LOOKS_AFTER = (0.0002, 0.0005, 0.001)  # seconds: for the other threads of a process that is killed to end, too


class Watch:
    """Calls `died(process)` once for each watched process that ends, as soon as the kernel says so.

    That is when its pidfd becomes readable, its memory having been taken down; before that, if its lifeline was shown.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, died: Callable[[Identity], None]) -> None:
        self._loop = loop
        self._died = died
        self._pidfds: dict[Identity, int] = {}
        self._known_dead: set[Identity] = set()  # told of, and still wanted
        self._exits: dict[Identity, int | None] = {}
        self._lifelines = Lifelines(loop, self._may_have_ended)
        _watching.add(self)

    def set(self, wanted: Iterable[Identity]) -> None:
        """Watch exactly these processes from now on; for one that is dead already, `died` is called soon."""
        wanted = set(wanted)
        for process in self._pidfds.keys() - wanted:
            self._end(process)
        self._known_dead &= wanted
        for process in wanted - self._pidfds.keys() - self._known_dead:
            self._begin(process)

    def is_alive(self, process: Identity) -> bool | None:
        """Whether a watched process is alive at this moment; None of others."""
        pidfd = self._pidfds.get(process)
        return None if pidfd is None else not processes.has_ended(pidfd)

    def include(self, process: Identity) -> None:
        """Watch one more process."""
        if process not in self._pidfds and process not in self._known_dead:
            self._begin(process)

    def show_lifeline(self, process: Identity, descriptor: int) -> None:
        """A watched process has shown its lifeline; the descriptor stays the caller's."""
        if process in self._pidfds:
            self._lifelines.add(process, descriptor)

    def exit_of(self, process: Identity) -> int | None:
        """How a dead process ended, as subprocess says it; None if the kernel does not tell."""
        if process in self._exits:
            return self._exits[process]
        return processes.exit_status(*process, self._pidfds.get(process))

    def close(self) -> None:
        """Watch nobody."""
        self.set(())
        self._lifelines.close()
        _watching.discard(self)

    def after_fork_in_child(self) -> None:
        """Close the descriptors only: the loop and what it polls are the parent's."""
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()

    def _begin(self, process: Identity) -> None:
        try:
            pidfd = processes.open_pidfd(*process)
        except OSError:
            return  # no descriptors left: the manager's next round will find the owner word of a dead process
        if pidfd is None:
            self._is_dead(process)
            return
        self._pidfds[process] = pidfd
        self._loop.add_reader(pidfd, self._readable, process)

    def _is_dead(self, process: Identity) -> None:
        self._known_dead.add(process)
        self._loop.call_soon(self._tell_dead, process)

    def _tell_dead(self, process: Identity) -> None:
        if process in self._known_dead:  # else nobody wants to know any more, or the watch has ended
            self._died(process)

    def _may_have_ended(self, process: Identity, later: tuple[float, ...] = _LOOKS_AFTER) -> None:
        """The thread that held the lifeline has ended. If the process goes on without it, its pidfd is left to tell."""
        if process not in self._pidfds:
            return
        status = processes.exit_status(*process, None)
        if status is not None:
            self._has_ended(process, status)
        elif later:
            self._loop.call_later(later[0], self._may_have_ended, process, later[1:])

    def _readable(self, process: Identity) -> None:
        if not processes.has_ended(self._pidfds[process]):
            return  # see there
        self._has_ended(process, processes.exit_status(*process, self._pidfds[process]))

    def _has_ended(self, process: Identity, status: int | None) -> None:
        self._exits[process] = status
        if len(self._exits) > _EXITS_KEPT:
            del self._exits[next(iter(self._exits))]
        try:
            self._died(process)
        finally:
            if process in self._pidfds:
                self._end(process)

    def _end(self, process: Identity) -> None:
        self._lifelines.discard(process)
        pidfd = self._pidfds.pop(process)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)


_watching: weakref.WeakSet[Watch] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for watch in list(_watching):
        watch.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def peer_credentials(connection: socket.socket) -> tuple[int, int]:
    """pid and uid of the process that connected, as the kernel recorded them; pid 0 if it is in another namespace."""
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid
