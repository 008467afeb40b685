# SPDX-License-Identifier: Apache-2.0
"""That an instance has one manager, also where managers are started with different directories for their sockets.

Whose tables a manager serves does not hang on the directory: those of its user and namespaces in this /dev/shm. So it
holds an abstract socket address that is made of just these, gone with the process like the lock in the directory.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
import weakref
from typing import Final

from tablemgr import bell, names, rendezvous, segment_names
from tablemgr.errors import ManagerRunningError
from tablemgr.manager.watch import peer_credentials

_DYING_SECONDS: Final = 0.5  # for a predecessor whose lock is gone already
_POLL_SECONDS: Final = 0.01

_log = logging.getLogger("tablemgr.manager")


class ManagedElsewhereError(ManagerRunningError):
    """The instance has a manager, whose socket is where this process does not look."""


def address_of(instance: str) -> bytes:
    """Where the manager of this user, in these namespaces and this /dev/shm, listens."""
    return bell.address(instance, f"sole-manager-{os.geteuid()}-{names.world()}-{os.stat(segment_names.SHM).st_dev}")


class Sole:
    """Held by the one manager of an instance, on top of the lock. Raises ManagedElsewhereError, OSError.

    Anybody may take an address: where another user has it, there is a warning, and the lock alone has to do. So it has
    between network namespaces, each of which has its own addresses.
    """

    def __init__(self, instance: str) -> None:
        with rendezvous.taking:  # a forked child that had it would keep the address
            self._socket = _new_socket()
            _held.add(self)
        try:
            self._take(instance)
        except BaseException:
            self.close()
            raise

    def _take(self, instance: str) -> None:
        address = address_of(instance)
        deadline = time.monotonic() + _DYING_SECONDS
        while not self._bind(address):
            if time.monotonic() > deadline:
                self._give_way(instance, address)
                return
            time.sleep(_POLL_SECONDS)

    def _give_way(self, instance: str, address: bytes) -> None:
        """Somebody has the address: a manager, which stays the only one, or a stranger, whom that does not make one."""
        pid, uid = _holder(address)
        if uid == os.geteuid():
            raise ManagedElsewhereError(
                f"instance {instance!r} has a manager already: process {pid or '?'}, whose socket is not in "
                f"{rendezvous.directory_path()}; use the same XDG_RUNTIME_DIR, stop it, or choose another instance"
            )
        if uid is not None or not self._bind(address):  # nobody listens: it may have ended just now
            _log.warning("uid %s has taken the address that tells of a second manager of instance %r", uid, instance)

    def _bind(self, address: bytes) -> bool:
        """Whether it is this socket's. Nobody is let in: who connects learns from the kernel what it wants to know."""
        try:
            self._socket.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._socket.listen()
        return True

    def close(self) -> None:
        """Let another be the manager. Idempotent."""
        _held.discard(self)
        self._socket.close()


def _holder(address: bytes) -> tuple[int | None, int | None]:
    """pid and uid of the process that listens there, if that can be learned."""
    with _new_socket() as asker:
        try:
            asker.connect(address)
        except BlockingIOError:
            return None, os.geteuid()  # who has been asked so often, and let nobody in, is taken for a manager
        except OSError:
            return None, None
        return peer_credentials(asker)


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


_held: weakref.WeakSet[Sole] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for sole in list(_held):
        sole.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
