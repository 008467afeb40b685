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
from collections.abc import Callable, Iterator

from tablemgr import _ffi, protocol, rendezvous
from tablemgr.errors import AccessError, LockTimeoutError, ManagerUnavailableError
from tablemgr.mailbox import mailbox

ANSWER_SECONDS = 10.0  # how long a manager may take to answer what it can answer at once
MOMENT_SECONDS = 0.2  # how long one that runs may take where nobody wants to wait
POLL_SECONDS = 0.02
_IDLE_MAX = 4  # connections kept for the next request
_RETRY_SECONDS = 30.0  # how long a request goes on looking for a manager after it lost the first


class LostError(Exception):
    """The manager went away before it answered, or said that it is about to: its successor is to be asked."""


class Connection:
    """One conversation with a manager, which begins with a greeting: `greet` has returned before anything is asked."""

    def __init__(self, connection: socket.socket, instance: str) -> None:
        """Say who this is, and show the lifeline: the manager learns so of a death milliseconds earlier.

        Never waits.
        """
        self._socket = connection
        self._instance = instance
        self._buffer = protocol.LineBuffer()
        self._unheard = 0  # answers that nobody waits for, and that have not come yet
        self.pid = os.getpid()
        _open_connections.add(self)
        hello = protocol.encode(protocol.Hello(protocol.VERSION, *_ffi.self_process()))
        lines = []
        with contextlib.suppress(OSError):  # the manager has a pidfd as well
            lines.append(_ffi.lifeline())
        with contextlib.suppress(OSError):  # it is gone: `greet` says so
            # there is room: these are the first bytes
            socket.send_fds(self._socket, [hello], lines, socket.MSG_NOSIGNAL)

    def greet(self, deadline: float) -> None:
        """Wait for the manager's answer, `welcome`, until a time of the monotonic clock. Raises as `ask`."""
        try:
            welcome = self._hear(deadline)
            if not isinstance(welcome, protocol.Welcome):
                raise ManagerUnavailableError(
                    f"the manager answered with {type(welcome).__name__} instead of a welcome"
                )
        except BaseException:
            self.close()
            raise
        self.welcome = welcome
        mailbox(self._instance).met_manager(welcome.pid, welcome.start, welcome.since)

    def ask(self, request: protocol.Request, seconds: float) -> protocol.Reply:
        """Send a request, return its answer; after an exception the connection is of no more use.

        Raises LostError, ManagerUnavailableError if no answer or a senseless one comes, and what a refusal means.
        """
        deadline = time.monotonic() + seconds
        try:
            self._set_timeout(deadline)
            self._socket.sendall(protocol.encode(request), socket.MSG_NOSIGNAL)
        except TimeoutError:
            raise _silent() from None
        except OSError:
            raise LostError from None
        return self._hear(deadline)

    def mention(self, request: protocol.Request) -> None:
        """Send a request whose answer nobody waits for, or not: then the manager finds out by itself. Never waits."""
        line = protocol.encode(request)
        try:
            self._socket.setblocking(False)
            sent = self._socket.send(line, socket.MSG_NOSIGNAL)
        except OSError:  # it is gone, or stopped
            return
        if sent == len(line):
            self._unheard += 1
        else:
            self.close()

    def _hear(self, deadline: float) -> protocol.Reply:
        try:
            while True:
                self._set_timeout(deadline)
                lines = self._receive()
                if lines:
                    reply = protocol.decode_reply(lines[0])
                    break
        except TimeoutError:
            raise _silent() from None
        except protocol.ProtocolError as error:
            raise ManagerUnavailableError(f"what answers in the manager's place is none: {error}") from error
        except OSError:
            raise LostError from None
        if isinstance(reply, protocol.Refused):
            raise _refusal(reply)
        return reply

    def _receive(self) -> list[bytes]:
        """What has come, without the answers that nobody waits for."""
        data = self._socket.recv(protocol.MESSAGE_MAX)
        if not data:
            raise LostError
        lines = self._buffer.feed(data)
        n = min(self._unheard, len(lines))
        self._unheard -= n
        return lines[n:]

    def _set_timeout(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(None if left == math.inf else left)

    def fileno(self) -> int:
        """Readable when the manager closes its end."""
        return self._socket.fileno()

    def is_fresh(self) -> bool:
        """Whether nothing has come from the manager that is not expected, not even that it has closed its end."""
        try:
            self._socket.setblocking(False)  # with a timeout Python would wait for it, whatever the flags say
            while self._unheard:
                if self._receive():
                    return False
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except (OSError, LostError, protocol.ProtocolError):
            pass
        return False

    def close(self) -> None:
        """End the conversation."""
        _open_connections.discard(self)
        self._socket.close()


def _silent() -> ManagerUnavailableError:
    return ManagerUnavailableError("the manager does not answer: it is stopped or overloaded")


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

    def ask(
        self,
        request: protocol.Request,
        until: float,
        instead: Callable[[Connection], protocol.Reply | None] | None = None,
    ) -> protocol.Reply:
        """The manager's answer, or its successor's if it goes away meanwhile.

        until: the time of the monotonic clock at which the manager will answer at the latest. instead: what may answer
        in its place; it is called when the manager knows this process, and returns None for the manager to be asked.
        """
        give_up: float | None = None
        while True:
            seconds = max(0.0, until - time.monotonic()) + ANSWER_SECONDS
            try:
                with self.borrow(may_start=self._may_start(), seconds=seconds) as connection:
                    if connection is not None:
                        reply = None if instead is None else instead(connection)
                        return connection.ask(request, seconds) if reply is None else reply
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
                connection.mention(request)

    def _may_start(self) -> bool:
        return rendezvous.autostart_allowed() if self._autostart is None else self._autostart

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def borrow(self, may_start: bool, seconds: float = ANSWER_SECONDS) -> Iterator[Connection | None]:
        """A connection for one request; None if no manager runs and none is to be started.

        seconds: how long one that runs may take to let this process in and to greet it. Raises as `Connection.ask`.
        """
        connection = self._idle_connection()
        if connection is None:
            deadline = time.monotonic() + seconds
            if may_start:
                peer: socket.socket | None = rendezvous.connect_or_start(self._instance)
                deadline = time.monotonic() + seconds  # a start takes its own time
            else:
                peer = rendezvous.connect(self._instance, seconds)
            if peer is not None:
                connection = Connection(peer, self._instance)
                connection.greet(deadline)
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
