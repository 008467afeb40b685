# SPDX-License-Identifier: Apache-2.0
"""Waking a process up that waits for events. Nothing depends on it: what there is to be told stands in the segments.

A process that waits has a datagram socket in the abstract namespace, whose name follows from its identity and which is
gone with it; a manager has one, too. Whoever changed something that concerns it sends the names of the tables, or
nothing: look at all of them.
Anybody may send, so what is received is a reason to look, and is limited in size.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import weakref
from collections.abc import Iterable
from typing import Final

_MESSAGE_MAX: Final = 60000  # bytes; the names that do not fit are left out, and all are: look at everything
_KIND: Final = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_NAMES_MAX: Final = 256  # in one message; whoever sends more, and anybody may, makes all be looked at
_BURST: Final = 8  # messages at once after which some may have been lost: the kernel keeps 10 by default


def address(instance: str, owner: str) -> bytes:
    """An abstract address of the instance; whoever binds a socket to it should be what owner says."""
    import hashlib  # not at every start: it brings a library of several megabytes

    digest = hashlib.sha256(instance.encode()).hexdigest()[:24]
    return f"\0tablemgr/{digest}/{owner}".encode()


def _address(instance: str, process: tuple[int, int] | None) -> bytes:
    return address(instance, f"manager-{os.geteuid()}" if process is None else f"{process[0]}-{process[1]}")


def ring(instance: str, process: tuple[int, int] | None, names: Iterable[str] = ()) -> None:
    """Tell a process, or the manager (None), to look at these tables.

    Never waits, never fails: it may not have a bell, or not need one.
    """
    message = b"\0".join(name.encode() for name in names)
    if len(message) > _MESSAGE_MAX:
        message = b""
    receiver = _address(instance, process)
    with contextlib.suppress(OSError):
        try:
            _sender().sendto(message, receiver)
        except BlockingIOError:
            # What others have not read yet counts against the socket that sent it: it may be full of that.
            with socket.socket(socket.AF_UNIX, _KIND) as fresh:
                fresh.sendto(message, receiver)


class Bell:
    """The bell of this process (None: of the manager) in one instance.

    Raises OSError if there is one already, or no descriptor for it.
    """

    def __init__(self, instance: str, process: tuple[int, int] | None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, _KIND)
        try:
            self._socket.bind(_address(instance, process))
        except BaseException:
            self._socket.close()
            raise
        _bells.add(self)

    def fileno(self) -> int:
        """Readable when it was rung."""
        return self._socket.fileno()

    def heard(self) -> set[str] | None:
        """The tables to look at; None: all. What was heard is forgotten."""
        names: set[str] = set()
        everything = False
        for count in range(1, 1000):
            try:
                message = self._socket.recv(_MESSAGE_MAX)
            except BlockingIOError:
                break
            everything = everything or not message or count >= _BURST or message.count(b"\0") >= _NAMES_MAX
            if not everything:
                names.update(name.decode(errors="replace") for name in message.split(b"\0"))
        return None if everything else names

    def close(self) -> None:
        """Have no bell any more."""
        _bells.discard(self)
        self._socket.close()


_bells: weakref.WeakSet[Bell] = weakref.WeakSet()
_sending: list[socket.socket] = []


def _sender() -> socket.socket:
    if not _sending:
        _sending.append(socket.socket(socket.AF_UNIX, _KIND))  # of two made at once, one is left to the collector
    return _sending[0]


def _close_all() -> None:
    for bell in list(_bells):
        bell.close()


def _at_exit() -> None:
    _close_all()
    while _sending:
        _sending.pop().close()


os.register_at_fork(after_in_child=_close_all)
atexit.register(_at_exit)
