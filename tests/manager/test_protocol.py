"""The wire messages: every one survives the journey, and nothing else is taken for one."""

import dataclasses
import json
import typing

import pytest

from tablemgr import protocol
from tablemgr.protocol import LISTED_MAX, MESSAGE_MAX, LineBuffer, Message, ProtocolError, Waiting

EXAMPLES: list[Message] = [
    protocol.Hello(1, 4711, 99),
    protocol.Welcome(1, 1, 2**63, 1.5e9),
    protocol.Claim("names\nwith \0 and \u2603", 2**64 - 1, 12.5, None),
    protocol.Claim("", 0, 0.0, 13.5),
    protocol.Watch("a/b"),
    protocol.Status(),
    protocol.Stop(),
    protocol.Given("t"),
    protocol.Absent("t"),
    protocol.Changed("t"),
    protocol.Owned("t", 5, 6),
    protocol.Done(),
    protocol.StatusReport(3, 2, (Waiting("t", 1, 2), Waiting("u", 3, 4))),
    protocol.Refused("garbage", 'say "please"'),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    """Encoded and decoded, every kind of message is equal to what it was, in one line."""
    line = protocol.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert protocol.decode(line) == message


def test_every_kind_of_message_has_an_example() -> None:
    """The list above leaves no message out."""
    assert {type(example) for example in EXAMPLES} == set(typing.get_args(protocol.Message))


def test_messages_cannot_be_changed() -> None:
    """A message is a value."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.Watch("a").name = "b"  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'"Stop"',
        b"{}",
        b'{"type":null}',
        b'{"type":"Nonsense"}',
        b'{"type":["Stop"]}',
        b'{"type":"Stop","more":1}',
        b'{"type":"Watch"}',
        b'{"type":"Watch","name":7}',
        b'{"type":"Watch","name":"\\ud800"}',
        b'{"type":"Hello","version":true,"pid":1,"start":1}',
        b'{"type":"Hello","version":1.0,"pid":1,"start":1}',
        b'{"type":"Hello","version":-1,"pid":1,"start":1}',
        b'{"type":"Hello","version":18446744073709551616,"pid":1,"start":1}',
        b'{"type":"Hello","version":' + b"9" * 5000 + b',"pid":1,"start":1}',
        b'{"type":"Claim","name":"t","table_id":0,"asked":NaN,"until":null}',
        b'{"type":"Claim","name":"t","table_id":0,"asked":1e400,"until":null}',
        b'{"type":"Claim","name":"t","table_id":0,"asked":-1.0,"until":null}',
        b'{"type":"Claim","name":"t","table_id":0,"asked":null,"until":null}',
        b'{"type":"StatusReport","tables":1,"n_waiting":1,"waiting":[1]}',
        b'{"type":"StatusReport","tables":1,"n_waiting":1,"waiting":[{"name":"t"}]}',
        b'{"type":"Stop"}{"type":"Stop"}',
        b"[" * 60000,
        b'{"a":' * 10000,
        b'{"type":"Watch","name":"' + b"x" * MESSAGE_MAX + b'"}',
    ],
)
def test_what_is_not_a_message_is_refused(line: bytes) -> None:
    """Garbage of all kinds is a ProtocolError, never another exception and never a message."""
    with pytest.raises(ProtocolError):
        protocol.decode(line)


def test_clients_send_requests_and_managers_answers() -> None:
    """A message that is fine in one direction is refused in the other."""
    assert protocol.decode_request(b'{"type":"Stop"}') == protocol.Stop()
    assert protocol.decode_reply(b'{"type":"Done"}') == protocol.Done()
    with pytest.raises(ProtocolError, match="not a request"):
        protocol.decode_request(b'{"type":"Done"}')
    with pytest.raises(ProtocolError, match="not an answer"):
        protocol.decode_reply(b'{"type":"Stop"}')


def test_a_message_over_the_limit_is_not_sent() -> None:
    """The limit holds for the sender too, and so does the rule that text is Unicode."""
    with pytest.raises(ProtocolError, match="limit"):
        protocol.encode(protocol.Refused("x", "x" * MESSAGE_MAX))
    with pytest.raises(ProtocolError):
        protocol.encode(protocol.Watch("\ud800"))


def test_the_longest_status_report_fits() -> None:
    """As many waiters as are ever listed, with names as long and as awkward as they can be, are within the limit."""
    waiting = tuple(Waiting("\0" * 255, 2**32 - 1, 2**64 - 1) for _ in range(LISTED_MAX))
    report = protocol.StatusReport(2**32, 2**32, waiting)
    assert protocol.decode(protocol.encode(report)) == report


def test_lines_are_found_however_the_bytes_are_cut() -> None:
    """Byte by byte or all at once, the buffer yields the same messages."""
    stream = b"".join(protocol.encode(example) for example in EXAMPLES)
    for step in (1, 2, 7, len(stream)):
        buffer = LineBuffer()
        lines = [line for i in range(0, len(stream), step) for line in buffer.feed(stream[i : i + step])]
        assert [protocol.decode(line) for line in lines] == EXAMPLES
        assert not buffer.partial


def test_a_message_that_never_ends_is_given_up_at_the_limit() -> None:
    """The buffer refuses to grow over the limit, and says so when it is reached, not later."""
    buffer = LineBuffer()
    fed = 0
    while fed + 1000 < MESSAGE_MAX:
        buffer.feed(b"x" * 1000)
        fed += 1000
        assert buffer.partial
    with pytest.raises(ProtocolError, match="limit"):
        buffer.feed(b"x" * 1000)
    assert not buffer.partial


def test_a_complete_line_over_the_limit_is_refused_too() -> None:
    """Also if its end came in the same piece."""
    with pytest.raises(ProtocolError, match="limit"):
        LineBuffer().feed(b"x" * MESSAGE_MAX + b"\n")


def test_the_encoding_is_plain_json() -> None:
    """Another program can speak it with a JSON library alone."""
    assert json.loads(protocol.encode(protocol.Owned("t", 5, 6))) == {
        "type": "Owned",
        "name": "t",
        "pid": 5,
        "start": 6,
    }
