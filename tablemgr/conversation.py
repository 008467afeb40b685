# SPDX-License-Identifier: Apache-2.0
"""Conversations with the manager of an instance: connections that are kept, and requests that outlive a manager.

A request means the same to a manager and to its successor, so one whose answer was lost is asked again.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Sequence

from tablemgr import _ffi, protocol, rendezvous
from tablemgr.errors import AccessError, LockTimeoutError, ManagerUnavailableError
from tablemgr.mailbox import mailbox

ANSWER_SECONDS = 10.0  # how long a manager may take to answer what it can answer at once
POLL_SECONDS = 0.02
_IDLE_MAX = 4  # connections kept for the next request
_RETRY_SECONDS = 30.0  # how long a request goes on looking for a manager after it lost the first


class LostError(Exception):
    """The manager went away before it answered, or said that it is about to: its successor is to be asked."""


class Connection:
    """One conversation with a manager, past its greeting."""

    def __init__(self, connection: socket.socket, instance: str) -> None:
        self._socket = connection
        self._buffer = protocol.LineBuffer()
        self.pid = os.getpid()
        _open_connections.add(self)
        try:
            welcome = self._greet()
        except BaseException:
            self.close()
            raise
        if not isinstance(welcome, protocol.Welcome):
            self.close()
            raise ManagerUnavailableError(f"the manager answered with {type(welcome).__name__} instead of a welcome")
        self.welcome = welcome
        mailbox(instance).met_manager(welcome.pid, welcome.start, welcome.since)

    def _greet(self) -> protocol.Reply:
        """Say who this is, and show the lifeline: the manager learns so of a death milliseconds earlier."""
        hello = protocol.encode(protocol.Hello(protocol.VERSION, *_ffi.self_process()))
        lines = []
        with contextlib.suppress(OSError):  # the manager has a pidfd as well
            lines.append(_ffi.lifeline())
        return self._exchange(hello, lines, ANSWER_SECONDS)

    def ask(self, request: protocol.Request, seconds: float) -> protocol.Reply:
        """Send a request, return its answer; after an exception the connection is of no more use.

        Raises LostError, ManagerUnavailableError if no answer or a senseless one comes, and what a refusal means.
        """
        return self._exchange(protocol.encode(request), (), seconds)

    def _exchange(self, line: bytes, descriptors: Sequence[int], seconds: float) -> protocol.Reply:
        deadline = time.monotonic() + seconds
        try:
            self._socket.settimeout(ANSWER_SECONDS)
            if descriptors:
                line = line[socket.send_fds(self._socket, [line], descriptors) :]
            self._socket.sendall(line)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(None if left == math.inf else left)
                data = self._socket.recv(protocol.MESSAGE_MAX)
                if not data:
                    raise LostError
                lines = self._buffer.feed(data)
                if lines:
                    reply = protocol.decode_reply(lines[0])
                    break
        except TimeoutError:
            raise ManagerUnavailableError("the manager does not answer: it is stopped or overloaded") from None
        except protocol.ProtocolError as error:
            raise ManagerUnavailableError(f"what answers in the manager's place is none: {error}") from error
        except OSError:
            raise LostError from None
        if isinstance(reply, protocol.Refused):
            raise _refusal(reply)
        return reply

    def fileno(self) -> int:
        """Readable when the manager closes its end."""
        return self._socket.fileno()

    def is_fresh(self) -> bool:
        """Whether the manager has not closed its end, as far as is known here."""
        try:
            self._socket.setblocking(False)  # with a timeout Python would wait for it, whatever the flags say
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """End the conversation."""
        _open_connections.discard(self)
        self._socket.close()


def _refusal(refused: protocol.Refused) -> Exception:
    if refused.code == "unmanageable":
        return AccessError(refused.message)
    if refused.code == "busy":
        return LockTimeoutError(refused.message)
    if refused.code == "ending":
        return LostError(refused.message)
    return ManagerUnavailableError(f"the manager refused: {refused.message}")


class Conversations:
    """One client's way to the manager of its instance.

    autostart: start a manager where a request needs one and none runs; None: unless TABLEMGR_AUTOSTART is 0.
    Thread-safe, and usable in a forked child, which is another process to the manager.
    """

    def __init__(self, instance: str, autostart: bool | None) -> None:
        self._instance = instance
        self._autostart = autostart
        self._lock = threading.RLock()
        self._idle: list[Connection] = []
        _all.add(self)

    def __del__(self) -> None:
        for connection in self.__dict__.get("_idle", ()):  # no lock: after a fork its holder may be gone
            connection.close()

    def ask(self, request: protocol.Request, until: float) -> protocol.Reply:
        """The manager's answer, or its successor's if it goes away meanwhile.

        until: the time of the monotonic clock at which the manager will answer at the latest.
        """
        give_up: float | None = None
        while True:
            try:
                with self.borrow(may_start=self._may_start()) as connection:
                    if connection is not None:
                        return connection.ask(request, max(0.0, until - time.monotonic()) + ANSWER_SECONDS)
            except LostError:
                give_up = give_up or max(time.monotonic() + _RETRY_SECONDS, until)
            if give_up is None or time.monotonic() > give_up:
                raise ManagerUnavailableError(
                    f"instance {self._instance!r} has no manager that stays: run `tablemgr --instance {self._instance} "
                    "serve`, embed tablemgr.Manager, or let TABLEMGR_AUTOSTART start one"
                )
            time.sleep(POLL_SECONDS)

    def tell(self, request: protocol.Request) -> None:
        """Like `ask` where nothing depends on the answer: a manager that does not hear it finds out by itself."""
        expected = (LostError, ManagerUnavailableError, AccessError, LockTimeoutError)
        with contextlib.suppress(*expected), self.borrow(may_start=False) as connection:
            if connection is not None:
                connection.ask(request, ANSWER_SECONDS)

    def _may_start(self) -> bool:
        return rendezvous.autostart_allowed() if self._autostart is None else self._autostart

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def borrow(self, may_start: bool) -> Iterator[Connection | None]:
        """A connection for one request; None if no manager runs and none is to be started."""
        connection = self._idle_connection()
        if connection is None:
            if may_start:
                connection = Connection(rendezvous.connect_or_start(self._instance), self._instance)
            else:
                peer = rendezvous.connect(self._instance)
                connection = None if peer is None else Connection(peer, self._instance)
        if connection is None:
            yield None
            return
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if connection.pid == os.getpid() and len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _idle_connection(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._idle = []


_open_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_all: weakref.WeakSet[Conversations] = weakref.WeakSet()


def _close_all() -> None:
    for connection in list(_open_connections):
        connection.close()


def _after_fork_in_child() -> None:
    """The child is another process to the manager: it needs connections of its own, and must not keep its parent's."""
    _close_all()
    for conversations in list(_all):
        conversations._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
