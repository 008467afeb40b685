# SPDX-License-Identifier: Apache-2.0
"""The manager's socket and its conversations: who is let in, what has come, what is said, and when it is enough.

Nothing here waits. An answer that does not fit into the socket's own buffer ends the conversation, so a peer costs at
most one LineBuffer of memory. A peer has `patience` seconds to introduce itself and to end a message that it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import socket
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator

from tablemgr import protocol, rendezvous
from tablemgr.manager.decisions import Identity
from tablemgr.manager.journal import Event, Journal
from tablemgr.manager.limits import Limits, Rates
from tablemgr.manager.watch import peer_credentials

PATIENCE_SECONDS = 5.0
_ACCEPT_BATCH = 16
_DRAIN_READS = 16  # from one client, before the end

_log = logging.getLogger("tablemgr.manager")


class Conversation:
    """One connection: what was received, who sent it, and until when it must say something whole."""

    __slots__ = ("buffer", "connection", "deadline", "key", "lifeline", "peer", "pid", "unread")

    def __init__(self, key: int, connection: socket.socket, pid: int, deadline: float, message_bytes: int) -> None:
        self.key = key
        self.connection = connection
        self.pid = pid
        self.peer: Identity | None = None  # after Hello
        self.buffer = protocol.LineBuffer(message_bytes)
        self.unread: deque[bytes] = deque()  # messages that have come and were not looked at yet
        self.deadline: float | None = deadline  # None: nothing is overdue
        self.lifeline: int | None = None  # a descriptor that came before or with Hello

    def take(self, descriptors: list[int]) -> None:
        """These came with the data: the first one counts."""
        for descriptor in descriptors:
            if self.lifeline is None:
                self.lifeline = descriptor
            else:
                os.close(descriptor)

    def drop_lifeline(self) -> None:
        """Close the descriptor, if there is one."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None

    def has_left(self) -> bool:
        """Whether the peer closed its end: it no longer wants what it asked for."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Conversations:
    """All conversations of one manager, by their keys, and the socket that they come from.

    request: what is called with each message, and may raise ProtocolError; leave: what is called with the key of a
    conversation that ends.
    """

    def __init__(
        self,
        instance: str,
        journal: Journal,
        limits: Limits,
        patience: float | None,
        request: Callable[[Conversation, protocol.Request], None],
        leave: Callable[[int], None],
    ) -> None:
        self._instance = instance
        self._journal = journal
        self._limits = limits
        self._patience = PATIENCE_SECONDS if patience is None else patience
        self._request = request
        self._leave = leave
        self._rates = Rates(limits.requests_per_second)
        self._refused: set[tuple[int, str]] = set()  # since the last round: pid and code
        self._made: rendezvous.FileId | None = None  # the socket's file, where we made it
        self._path = ""
        self._listener: socket.socket | None = None
        self._accepting = False
        self._conversations: dict[int, Conversation] = {}
        self._per_process: Counter[int] = Counter()  # connections of each pid
        self._keys = itertools.count(1)

    def __len__(self) -> int:
        return len(self._conversations)

    def __getitem__(self, key: int) -> Conversation:
        return self._conversations[key]

    def peers(self) -> Iterator[Identity]:
        """The processes that have introduced themselves, once for each conversation."""
        return (c.peer for c in self._conversations.values() if c.peer is not None)

    def of(self, process: Identity) -> list[Conversation]:
        """Those with a process."""
        return [conversation for conversation in self._conversations.values() if conversation.peer == process]

    # -- the socket ---------------------------------------------------------------------------------------------------

    def open(self, passed: socket.socket | None) -> None:
        """Listen, on a socket that was passed or else on one that is made; nobody is let in before `start`."""
        with _descriptors:
            if passed is not None:
                rendezvous.check_listener(passed, self._instance)
                passed.setblocking(False)
                self._listener = passed
            else:
                self._listener, self._made = rendezvous.listen(self._instance)
                self._path = rendezvous.socket_path(self._instance)
            _listening.add(self)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._listener is not None

    @property
    def is_lost(self) -> bool:
        """Whether nobody new can come, because the socket's file, which was made here, was taken away."""
        return self._made is not None and rendezvous.is_gone(self._path, self._made)

    def close(self) -> None:
        """Listen no longer, and remove the socket's file if it was made here."""
        assert self._listener is not None
        _listening.discard(self)
        if self._made is not None:
            with contextlib.suppress(OSError):
                rendezvous.remove_socket(self._instance, self._made)
        self._listener.close()
        self._listener = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let peers in and hear them, in this loop."""
        self._loop = loop
        self._accept_again()

    def stop(self) -> None:
        """End all conversations, let nobody in."""
        for conversation in list(self._conversations.values()):
            self.end(conversation)
        if self._listener is not None and self._accepting:
            self._loop.remove_reader(self._listener)

    def drain(self) -> None:
        """Take what was asked already: one pass and no wait."""
        for conversation in list(self._conversations.values()):
            for _ in range(_DRAIN_READS):
                if not self._readable(conversation):
                    break

    def last_words(self, conversation: Conversation) -> list[protocol.Request]:
        """What a process that has died said and nobody has looked at yet."""
        with contextlib.suppress(OSError, protocol.ProtocolError):
            conversation.unread.extend(conversation.buffer.feed(conversation.connection.recv(protocol.MESSAGE_MAX)))
        words = []
        with contextlib.suppress(protocol.ProtocolError):
            while conversation.unread:
                words.append(protocol.decode_request(conversation.unread.popleft()))
        return words

    def round(self) -> None:
        """To be called once a second, for the peers that are overdue and the limits by the second."""
        now = time.monotonic()
        for conversation in list(self._conversations.values()):
            if conversation.deadline is not None and conversation.deadline < now:
                self.refuse(conversation, "slow", f"no whole message came within {self._patience:g} seconds")
        self._rates.forget(now)
        self._refused.clear()
        if not self._accepting:
            self._accept_again()

    # -- who comes ----------------------------------------------------------------------------------------------------

    def _accept_again(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)
            self._accepting = True

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_ACCEPT_BATCH):
            with _descriptors:
                try:
                    connection, _ = self._listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    return
                except OSError as error:
                    if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        raise
                    _log.warning("no connections accepted for a second: %s", error)
                    self._loop.remove_reader(self._listener)
                    self._accepting = False
                    return
                connection.setblocking(False)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.queue_bytes)
                pid, uid = peer_credentials(connection)
                key = next(self._keys)
                deadline = time.monotonic() + self._patience
                conversation = Conversation(key, connection, pid, deadline, self._limits.message_bytes)
                self._conversations[key] = conversation
                self._per_process[pid] += 1
            self._loop.add_reader(connection, self._readable, conversation)
            self._admit(conversation, uid)

    def _admit(self, conversation: Conversation, uid: int) -> None:
        most, share = self._limits.clients, self._limits.process_clients
        if uid not in (os.geteuid(), 0):
            self.refuse(conversation, "stranger", f"uid {uid} is not the manager's uid {os.geteuid()}")
        elif conversation.pid == 0:
            self.refuse(conversation, "stranger", "your process is in another pid namespace than the manager")
        elif len(self._conversations) > most:
            self.refuse(conversation, "crowded", f"there are {most} connections already, the manager's limit")
        elif self._per_process[conversation.pid] > share:
            self.refuse(conversation, "crowded", f"your process has {share} connections already, its share of them")
        elif not self._rates.allow(conversation.pid, time.monotonic()):
            self.refuse(conversation, "fast", self._too_fast())

    def _too_fast(self) -> str:
        most = self._limits.requests_per_second
        return f"your process makes more than {most} requests per second, the manager's limit; ask again later"

    # -- what is said -------------------------------------------------------------------------------------------------

    def _readable(self, conversation: Conversation) -> bool:
        """Take what a client has sent and answer it; whether there may be more."""
        if conversation.key not in self._conversations:
            return False
        try:
            if conversation.peer is None:
                data, descriptors = _receive(conversation.connection)
                conversation.take(descriptors)
            else:
                data = conversation.connection.recv(protocol.MESSAGE_MAX)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.end(conversation)
            return False
        try:
            conversation.unread.extend(conversation.buffer.feed(data))
            while conversation.unread and conversation.key in self._conversations:
                line = conversation.unread.popleft()
                if conversation.peer is not None and not self._rates.allow(conversation.pid, time.monotonic()):
                    self._note_refusal(conversation, "fast", self._too_fast())
                    self.say(conversation, protocol.Refused("fast", self._too_fast()))
                    continue
                self._request(conversation, protocol.decode_request(line))
        except protocol.ProtocolError as error:
            self.refuse(conversation, "garbage", f"this is not a message of the table manager: {error}")
            return False
        if conversation.key not in self._conversations:
            return False
        if conversation.peer is not None and not conversation.buffer.partial:
            conversation.deadline = None
        elif conversation.deadline is None:
            conversation.deadline = time.monotonic() + self._patience
        return True

    def _note_refusal(self, conversation: Conversation, code: str, message: str) -> None:
        """All are counted; of those of one kind to one process, one a second is worth a line of the log."""
        known = (conversation.pid, code) in self._refused
        self._refused.add((conversation.pid, code))
        level = logging.DEBUG if known else logging.WARNING
        self._journal.note(Event.REFUSED, level, pid=conversation.pid, code=code, reason=message)

    def refuse(self, conversation: Conversation, code: str, message: str) -> None:
        """Say why, and end it."""
        self._note_refusal(conversation, code, message)
        self.say(conversation, protocol.Refused(code, message))
        self.end(conversation)

    def say(self, conversation: Conversation, reply: protocol.Reply) -> None:
        """Send a message, unless the conversation has ended; one that does not take it at once ends."""
        if conversation.key not in self._conversations:
            return
        line = protocol.encode(reply)
        try:
            sent = conversation.connection.send(line, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            return  # it is gone; what it said before that is still heard
        except OSError:
            sent = 0
        if sent != len(line):
            self._journal.note(Event.CUT_OFF, logging.WARNING, pid=conversation.pid)
            self.end(conversation)  # it does not read its answers

    def end(self, conversation: Conversation) -> None:
        """Close the connection and what came with it. Idempotent."""
        if self._conversations.pop(conversation.key, None) is None:
            return
        self._per_process[conversation.pid] -= 1
        if not self._per_process[conversation.pid]:
            del self._per_process[conversation.pid]
        self._leave(conversation.key)
        self._loop.remove_reader(conversation.connection)
        conversation.connection.close()
        conversation.drop_lifeline()

    # -- fork ---------------------------------------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """Close what would make a dead manager look alive from a forked child: the socket, the connections."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for conversation in self._conversations.values():
            conversation.connection.close()
            conversation.drop_lifeline()
        self._conversations = {}


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """What has come, and at most one descriptor with it."""
    data, descriptors, *_ = socket.recv_fds(connection, protocol.MESSAGE_MAX, 1, socket.MSG_CMSG_CLOEXEC)
    return data, descriptors


_listening: weakref.WeakSet[Conversations] = weakref.WeakSet()
# Held while a socket exists that the fork hook cannot find yet; an RLock, for a signal handler may fork meanwhile.
_descriptors = threading.RLock()


def _after_fork_in_child() -> None:
    _descriptors.release()
    for conversations in list(_listening):
        conversations.after_fork_in_child()


os.register_at_fork(
    before=_descriptors.acquire, after_in_parent=_descriptors.release, after_in_child=_after_fork_in_child
)
