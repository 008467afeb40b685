"""Peers that talk nonsense, too much, or not at all are refused; the others are served on meanwhile."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr import _ffi, protocol, rendezvous
from tablemgr.manager import conversations
from tablemgr.manager.limits import Limits
from tablemgr.segment_names import segment_name

from .support import TIMEOUT, Daemon, State, Worker, eventually, in_line, open_table


class Peer:
    """A connection to the manager on which anything can be said."""

    def __init__(self, instance: str) -> None:
        connection = rendezvous.connect(instance)
        assert connection is not None
        self.socket = connection
        self.socket.settimeout(TIMEOUT)
        self.buffer = protocol.LineBuffer()

    def say(self, message: protocol.Message) -> None:
        self.socket.sendall(protocol.encode(message))

    def hear(self) -> protocol.Reply | None:
        """The next message; None at the end of the connection."""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            lines = self.buffer.feed(data)
            if lines:
                return protocol.decode_reply(lines[0])

    def refusal(self) -> str:
        """The code of the refusal, after which the connection ends."""
        reply = self.hear()
        assert isinstance(reply, protocol.Refused)
        assert self.hear() is None
        return reply.code

    def greet(self) -> None:
        self.say(protocol.Hello(protocol.VERSION, *_ffi.self_process()))
        assert isinstance(self.hear(), protocol.Welcome)


@pytest.fixture
def peer(daemon: Daemon, instance: str) -> Iterator[Peer]:
    """A peer, and the assertion that others are served while it is there and afterwards."""
    it = Peer(instance)
    yield it
    with tm.new_table("witness") as table:
        table.drop()
    it.socket.close()
    assert daemon.process.poll() is None


def test_what_comes_in_place_of_a_lifeline_is_let_go(daemon: Daemon, instance: str) -> None:
    """Descriptors of anything, several of them, one with garbage, one late: none is kept, and no harm is done."""
    hello = protocol.encode(protocol.Hello(protocol.VERSION, *_ffi.self_process()))
    shrinking = os.memfd_create("shrinking")
    os.ftruncate(shrinking, 4096)
    before = min(descriptors(daemon.pid) for _ in range(50))  # while it looks at the tables it has one more
    for sent in ([shrinking], list(os.pipe()), [shrinking] * 3):
        peer = Peer(instance)
        socket.send_fds(peer.socket, [hello], sent)
        assert isinstance(peer.hear(), protocol.Welcome)
        os.ftruncate(shrinking, 0)
        socket.send_fds(peer.socket, [protocol.encode(protocol.Status())], sent)
        assert isinstance(peer.hear(), protocol.StatusReport)
        peer.socket.close()
    for sent, data in (([shrinking], b"\n"), ([shrinking], hello[:10])):
        peer = Peer(instance)
        socket.send_fds(peer.socket, [data], sent)
        peer.socket.close()
    eventually(lambda: descriptors(daemon.pid) == before)
    with tm.new_table("witness") as table:
        table.drop()


def greet_with_garbage(state: State, instance: str) -> str:
    """In a worker that has not talked to the manager: its first Hello, with a descriptor that is no lifeline."""
    peer = Peer(instance)
    socket.send_fds(
        peer.socket, [protocol.encode(protocol.Hello(protocol.VERSION, *_ffi.self_process()))], [os.pipe()[0]]
    )
    return type(peer.hear()).__name__


def test_a_first_hello_with_garbage_is_answered(daemon: Daemon, instance: str) -> None:
    """Who shows what is no lifeline is served like one who shows none."""
    assert Worker().call(greet_with_garbage, instance) == "Welcome"


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """Bytes of resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def claim(name: str, *, wait: bool = False) -> protocol.Claim:
    return protocol.Claim(name, 0, 0.0, None if wait else 0.0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"\n",
        b"null\n",
        b'{"type":"Claim"}\n',
        b'{"type":"Welcome","version":1,"pid":1,"start":1,"since":1.0}\n',
        b"[" * 5000 + b"\n",
        b'{"type":"Status"}\n',
    ],
)
def test_garbage_is_refused_and_the_connection_closed(peer: Peer, garbage: bytes) -> None:
    """With a word on why, before and after the greeting."""
    peer.socket.sendall(garbage)
    assert peer.refusal() == "garbage"


def test_garbage_after_the_greeting_is_refused_too(peer: Peer) -> None:
    """Being known is no licence."""
    peer.greet()
    peer.socket.sendall(os.urandom(100).replace(b"\n", b"") + b"\n")
    assert peer.refusal() == "garbage"


def test_a_message_that_is_too_long_is_refused_at_the_limit(peer: Peer, daemon: Daemon) -> None:
    """A message without an end is not collected: the peer is cut off, and the manager has not grown."""
    peer.greet()
    before = memory(daemon.pid)
    sent = 0
    piece = b'{"type":"Watch","name":"' + b"x" * 65536
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while sent < 1 << 30:
            sent += peer.socket.send(piece)
    assert sent < 8 << 20
    assert memory(daemon.pid) - before < 4 << 20


def test_a_connection_that_says_nothing_is_closed(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections and half messages end when the manager's patience does; complete ones stay."""
    monkeypatch.setattr(conversations, "PATIENCE_SECONDS", 0.2)
    with tm.Manager(instance):
        silent, half, patient = Peer(instance), Peer(instance), Peer(instance)
        half.greet()
        half.socket.sendall(b'{"type":')
        patient.greet()
        assert silent.refusal() == "slow"
        assert half.refusal() == "slow"
        patient.say(protocol.Status())
        assert isinstance(patient.hear(), protocol.StatusReport)
        for peer in (silent, half, patient):
            peer.socket.close()


def test_a_peer_that_reads_no_answers_is_cut_off(peer: Peer, daemon: Daemon) -> None:
    """Answers are not collected for it."""
    peer.greet()
    before = memory(daemon.pid)
    peer.socket.settimeout(0.5)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(100_000):
            peer.socket.sendall(protocol.encode(protocol.Status()) * 100)
        pytest.fail("the manager reads on")
    assert memory(daemon.pid) - before < 4 << 20


def test_a_process_cannot_take_all_connections(daemon: Daemon, instance: str) -> None:
    """Beyond its share it is refused, while other processes are served."""
    worker = Worker()
    peers = [Peer(instance) for _ in range(Limits().process_clients + 1)]
    assert peers[-1].refusal() == "crowded"
    assert worker.call(open_table, "t") == (False, None)
    for peer in peers:
        peer.socket.close()
    eventually(lambda: tm.info().manager)


def test_another_version_is_told_which_one_is_spoken(peer: Peer) -> None:
    """And what to do."""
    peer.say(protocol.Hello(protocol.VERSION + 1, *_ffi.self_process()))
    reply = peer.hear()
    assert isinstance(reply, protocol.Refused)
    assert reply.code == "version"
    assert f"version {protocol.VERSION}" in reply.message
    assert peer.hear() is None


@pytest.mark.parametrize("lie", ["pid", "start"])
def test_a_peer_cannot_be_somebody_else(peer: Peer, lie: str) -> None:
    """Who is at the other end is the kernel's word; a claim for another process is refused."""
    pid, start = _ffi.self_process()
    told = (1, start) if lie == "pid" else (pid, start + 1)
    peer.say(protocol.Hello(protocol.VERSION, *told))
    assert peer.refusal() == "stranger"


def test_requests_before_the_greeting_are_refused(peer: Peer) -> None:
    """Nobody is served unknown."""
    peer.say(claim("t"))
    assert peer.refusal() == "garbage"
    assert not tm.tables()


def test_a_second_greeting_is_refused(peer: Peer) -> None:
    """A connection is one process's."""
    peer.greet()
    peer.say(protocol.Hello(protocol.VERSION, *_ffi.self_process()))
    assert peer.refusal() == "garbage"


def test_a_request_from_the_line_is_refused_and_loses_the_place(peer: Peer, instance: str) -> None:
    """Who waits, waits."""
    worker = Worker()
    worker.call(open_table, "t")
    peer.greet()
    table_id = _ffi.Handle.attach(segment_name(instance, "t"), _ffi.MAP_HEAD).describe().table_id
    peer.say(protocol.Claim("t", table_id, 0.0, None))
    eventually(lambda: in_line(instance) == [("t", os.getpid())])
    peer.say(protocol.Status())
    assert peer.refusal() == "garbage"
    assert in_line(instance) == []


def test_requests_in_one_piece_are_all_answered(peer: Peer) -> None:
    """Pipelining does no harm."""
    peer.greet()
    peer.socket.sendall(protocol.encode(protocol.Status()) * 3)
    data = b""
    while data.count(b"\n") < 3:
        data += peer.socket.recv(65536)
    assert [json.loads(line)["type"] for line in data.splitlines()] == ["StatusReport"] * 3


def test_damaged_segments_do_not_disturb_the_manager(daemon: Daemon, instance: str) -> None:
    """What looks like a table and is none is reported to who asks for it, and the rest goes on."""
    fakes = {"empty": b"", "random": os.urandom(100_000), "zero": bytes(1 << 20)}
    for name, content in fakes.items():
        Path(f"/dev/shm/tablemgr.{instance}.{name}").write_bytes(content)
    worker = Worker()
    worker.call(open_table, "sound")
    worker.kill()
    with tm.new_table("sound") as table:
        assert table.inherited
    for name in fakes:
        with pytest.raises(tm.CorruptTableError):
            tm.new_table(name)
        tm.drop(name, force=True)
    daemon.kill()
    daemon.start()


def test_names_that_no_table_can_have_are_answered(peer: Peer) -> None:
    """A raw request with an impossible name gets a refusal, not a crash."""
    peer.greet()
    for name in ("", "x" * 300, "nul\0"):
        peer.say(claim(name))
        reply = peer.hear()
        assert isinstance(reply, protocol.Refused)
        assert reply.code == "unmanageable"
