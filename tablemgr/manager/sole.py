# SPDX-License-Identifier: Apache-2.0
"""That an instance has one manager, also where managers are started with different directories for their sockets.

Whose tables a manager serves does not hang on the directory: those of its user and namespaces in this /dev/shm. So it
holds an abstract socket address that is made of just these, gone with the process like the lock in the directory.
"""

from __future__ import annotations

import contextlib
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


class Sole:
    """Held by the one manager of an instance, on top of the lock. Raises ManagedElsewhereError, OSError.

    Anybody may take an address: where another user has it, there is a warning, and the lock alone has to do.
    """

    def __init__(self, instance: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        _held.add(self)
        try:
            self._take(instance)
        except BaseException:
            self.close()
            raise

    def _take(self, instance: str) -> None:
        address = bell.address(
            instance, f"sole-manager-{os.geteuid()}-{names.world()}-{os.stat(segment_names.SHM).st_dev}"
        )
        deadline = time.monotonic() + _DYING_SECONDS
        while True:
            try:
                self._socket.bind(address)
                self._socket.listen()
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        pid, uid = _holder(address)
        if uid == os.geteuid():
            raise ManagedElsewhereError(
                f"instance {instance!r} has a manager already: process {pid}, whose socket is not in "
                f"{rendezvous.directory_path()}; use the same XDG_RUNTIME_DIR, stop it, or choose another instance"
            )
        _log.warning("uid %s has taken the address that tells of a second manager of instance %r", uid, instance)
        self._socket.bind("")  # to whatever is free, so that there is a socket to listen on
        self._socket.listen()

    def fileno(self) -> int:
        """Readable when somebody asked who holds it."""
        return self._socket.fileno()

    def let_go_of_askers(self) -> None:
        """They learn from the kernel what they want to know; a queue of them that is full would keep others from it."""
        with contextlib.suppress(OSError):
            while True:
                self._socket.accept()[0].close()

    def close(self) -> None:
        """Let another be the manager. Idempotent."""
        _held.discard(self)
        self._socket.close()


def _holder(address: bytes) -> tuple[int | None, int | None]:
    """pid and uid of the process that listens there, if that can be learned."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as asker:
        try:
            asker.connect(address)
        except OSError:
            return None, None
        return peer_credentials(asker)


_held: weakref.WeakSet[Sole] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for sole in list(_held):
        sole.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
