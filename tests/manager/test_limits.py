"""Limits: each is met, named in the refusal, and the others are served on."""

import contextlib
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr import protocol
from tablemgr.manager.limits import Limits, Rates

from .service import Service, with_client
from .support import Worker, eventually, open_table
from .test_hostile import Peer


@pytest.mark.parametrize(
    "wrong",
    [
        {"clients": 0},
        {"process_clients": 0},
        {"message_bytes": 100},
        {"message_bytes": protocol.MESSAGE_MAX + 1},
        {"queue_bytes": 1},
        {"requests_per_second": -1},
        {"clients": True},
    ],
)
def test_a_limit_with_which_nobody_could_be_served_is_refused(wrong: dict[str, int]) -> None:
    """ValueError, which names it."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


def test_requests_fill_up_at_the_permitted_rate() -> None:
    """As many at once as in a second; then one for each part of a second; a second's rest gives all of them again."""
    rates = Rates(4)
    assert [rates.allow(7, 10.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [rates.allow(7, 10.25) for _ in range(2)] == [True, False]
    assert rates.allow(8, 10.25), "another process has its own"
    assert [rates.allow(7, 99.0) for _ in range(5)] == [True] * 4 + [False]


def test_what_a_process_has_used_up_is_kept_while_it_matters() -> None:
    """`forget` drops full buckets only, so closing connections and opening them again gains nothing."""
    rates = Rates(2)
    assert [rates.allow(7, 0.0) for _ in range(3)] == [True, True, False]
    rates.forget(0.5)
    assert [rates.allow(7, 0.5) for _ in range(2)] == [True, False]
    rates.forget(5.0)
    assert not rates._buckets
    assert all(Rates(0).allow(7, 0.0) for _ in range(10_000))


def refusal(peer: Peer) -> protocol.Refused:
    """What the peer is told instead of an answer."""
    reply = peer.hear()
    assert isinstance(reply, protocol.Refused), reply
    return reply


def test_connections_are_limited_in_all(instance: str, tmp_path: Path) -> None:
    """The one too many is told how many there may be; when one goes, another may come."""
    service = Service(instance, tmp_path, "--max-clients", "2")
    peers = [Peer(instance) for _ in range(3)]
    for peer in peers[:2]:
        peer.greet()
    told = refusal(peers[2])
    assert told.code == "crowded"
    assert "2 connections already" in told.message
    (logged,) = eventually(lambda: service.events("refused"))
    assert logged["code"] == "crowded"
    peers[0].socket.close()
    eventually(lambda: can_greet(instance))
    for peer in peers:
        peer.socket.close()


def can_greet(instance: str) -> bool:
    """Whether another client is let in."""
    peer = Peer(instance)
    with contextlib.closing(peer.socket):
        try:
            peer.greet()
        except (AssertionError, OSError):
            return False
        return True


def test_connections_are_limited_per_process(instance: str, tmp_path: Path) -> None:
    """Another process is served meanwhile."""
    worker = Worker()
    Service(instance, tmp_path, "--max-process-clients", "2")
    peers = [Peer(instance) for _ in range(3)]
    told = refusal(peers[2])
    assert told.code == "crowded"
    assert "your process has 2 connections" in told.message
    assert worker.call(open_table, "t") == (False, None)
    for peer in peers:
        peer.socket.close()


def test_messages_are_limited(instance: str, tmp_path: Path) -> None:
    """One byte over is refused, whole or not; a message of the limit's length is taken."""
    Service(instance, tmp_path, "--max-message-bytes", "1024")
    whole = protocol.encode(protocol.Watch("x"))
    padded = whole[:-2] + b" " * (1024 - len(whole)) + whole[-2:]
    assert len(padded) == 1024
    for data, taken in ((padded, True), (b" " + padded, False), (b"x" * 1025, False)):
        peer = Peer(instance)
        peer.greet()
        peer.socket.sendall(data)
        if taken:
            assert isinstance(peer.hear(), protocol.Done)
        else:
            told = refusal(peer)
            assert told.code == "garbage"
            assert "limit of 1024 bytes" in told.message
        peer.socket.close()


def test_requests_are_limited_per_second(instance: str, tmp_path: Path) -> None:
    """Too many at once: those beyond are refused, the connection stays, and a little later it is served again."""
    service = Service(instance, tmp_path, "--max-requests-per-second", "20")
    peer = Peer(instance)
    peer.greet()
    peer.socket.sendall(protocol.encode(protocol.Status()) * 60)
    replies: list[protocol.Message] = []
    while len(replies) < 60:
        replies += [protocol.decode_reply(line) for line in peer.buffer.feed(peer.socket.recv(65536))]
    refused = [reply for reply in replies if isinstance(reply, protocol.Refused)]
    assert 19 <= len(replies) - len(refused) < 60
    assert {reply.code for reply in refused} == {"fast"}
    assert "20 requests per second" in refused[0].message
    assert len(eventually(lambda: service.events("refused"))) < len(refused), "one line a second tells as much"

    def is_served() -> bool:
        peer.say(protocol.Status())
        return isinstance(peer.hear(), protocol.StatusReport)

    eventually(is_served)
    peer.socket.close()


def test_a_call_that_meets_the_limit_raises_and_says_so(instance: str, tmp_path: Path) -> None:
    """new_table in a loop that runs wild."""
    Service(instance, tmp_path, "--max-requests-per-second", "5")
    table = tm.new_table("t")
    with pytest.raises(tm.ManagerUnavailableError, match="more than 5 requests per second"):
        for _ in range(1000):
            tm.new_table("t").close()
    assert not table.closed
    table.close()
    tm.drop("t", force=True)


def test_who_does_not_read_is_cut_off(instance: str, tmp_path: Path) -> None:
    """After so many bytes of answers; the log says who it was."""
    service = Service(instance, tmp_path, "--max-queue-bytes", "65536", "--max-requests-per-second", "0")
    peer = Peer(instance)
    peer.greet()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(20_000):
            peer.socket.sendall(protocol.encode(protocol.Status()) * 10)
        pytest.fail("the manager reads on")
    assert eventually(lambda: service.events("cut_off"))
    with_client(instance, lambda client: client.wait_for_manager(10))
    peer.socket.close()
