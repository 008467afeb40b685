# SPDX-License-Identifier: Apache-2.0
"""The wire messages between clients and the manager: what they are, and their encoding. No input, no output.

A message is one JSON object on one line of UTF-8, at most `MESSAGE_MAX` bytes with its newline. Its member `type` names
one of the classes below, the other members are exactly the fields of that class. A conversation is: the client says
`Hello`, the manager answers `Welcome`; from then on each request has one answer, in the order of the requests. A client
sends the next one when it has the answer to the last, or does not need it: that is a `Watch`. A `Claim` that waits in
line is answered when its turn or its time has come. `Refused` answers anything; after the codes of `FATAL` the manager
closes the connection.

Every request may be repeated: asked again, by a client that lost its manager in the middle of a call, it does nothing
that was not meant the first time, because the answer is read from the segments and not from the manager's memory.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

VERSION = 1
MESSAGE_MAX = 65536  # bytes, newline included
LISTED_MAX = 32  # waiters that one StatusReport names

#: codes of `Refused` that end the conversation
FATAL = frozenset({"garbage", "version", "stranger", "crowded", "slow", "ending"})


_Kind = TypeVar("_Kind")


class ProtocolError(ValueError):
    """What came over the socket is not a message, or what was to be sent does not fit into one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a client: the protocol it speaks and who it is (start in clock ticks since boot).

    With it the client may send a descriptor (SCM_RIGHTS), its lifeline.
    """

    version: int
    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to `Hello`: who the manager is; since in seconds since the epoch."""

    version: int
    pid: int
    start: int
    since: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The client wants to own table `name`.

    table_id: the table that it looked at (0: it saw none); another one of that name is not given to it.
    asked: when the client's call began: its place in the line, also in the line of a restarted manager.
    until: how long it stands in line if somebody alive owns the table; None: for ever.
    Both are seconds of CLOCK_MONOTONIC, so a claim that is sent again does not grow younger.
    """

    name: str
    table_id: int
    asked: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Watch:
    """The client took, created or let go table `name`: the manager should look at it now, not at its next round."""

    name: str


@dataclass(frozen=True, slots=True)
class Status:
    """Ask for a `StatusReport`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the manager to end."""


@dataclass(frozen=True, slots=True)
class Given:
    """The client is now the owner of the table, by the segment's own word."""

    name: str


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such table: create it."""

    name: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The name belongs to another table than the one that the client looked at: look again."""

    name: str


@dataclass(frozen=True, slots=True)
class Owned:
    """A live process owns the table, and the time to wait in line is over."""

    name: str
    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class Done:
    """The request was carried out."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One process in the line for one table."""

    name: str
    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What the manager does: tables it looks after, the length of all lines, and the first `LISTED_MAX` in them."""

    tables: int
    n_waiting: int
    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was not carried out; code for programs, message for people."""

    code: str
    message: str


Request: TypeAlias = Hello | Claim | Watch | Status | Stop
Reply: TypeAlias = Welcome | Given | Absent | Changed | Owned | Done | StatusReport | Refused
Message: TypeAlias = Request | Reply

_REQUESTS = (Hello, Claim, Watch, Status, Stop)
_REPLIES = (Welcome, Given, Absent, Changed, Owned, Done, StatusReport, Refused)
_BY_NAME: dict[str, type[Any]] = {kind.__name__: kind for kind in _REQUESTS + _REPLIES}


def encode(message: Message) -> bytes:
    """The line that carries a message. Raises ProtocolError if it is longer than MESSAGE_MAX or not encodable."""
    try:
        line = _to_json({"type": type(message).__name__, **_members(message)}).encode() + b"\n"
    except ValueError as error:
        raise ProtocolError(f"cannot be sent: {error}") from None
    if len(line) > MESSAGE_MAX:
        raise ProtocolError(f"a message of {len(line)} bytes is over the limit of {MESSAGE_MAX}")
    return line


def decode(line: bytes) -> Message:
    """The message that a line carries. Raises ProtocolError for whatever `encode` would not have made."""
    if len(line) > MESSAGE_MAX:
        raise ProtocolError(f"a message of {len(line)} bytes is over the limit of {MESSAGE_MAX}")
    try:
        members = _from_json(line.decode())
    except (ValueError, RecursionError):
        raise ProtocolError("not one JSON object in UTF-8 on one line") from None
    if not isinstance(members, dict):
        raise ProtocolError("not a JSON object")
    name = members.pop("type", None)
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError("no message of that type")
    return cast(Message, _build(kind, members))


def decode_request(line: bytes) -> Request:
    """Like `decode`, for the messages that a client may send."""
    message = decode(line)
    if isinstance(message, _REQUESTS):
        return message
    raise ProtocolError(f"{type(message).__name__} is not a request")


def decode_reply(line: bytes) -> Reply:
    """Like `decode`, for the messages that the manager may send."""
    message = decode(line)
    if isinstance(message, _REPLIES):
        return message
    raise ProtocolError(f"{type(message).__name__} is not an answer")


class LineBuffer:
    """Bytes as they come from a socket, cut into lines; it never holds more than `limit` bytes, newline included.

    Guarantee: whatever a peer sends, memory is bounded by the limit plus the piece handed to one `feed`.
    """

    __slots__ = ("_data", "_limit")

    def __init__(self, limit: int = MESSAGE_MAX) -> None:
        self._data = b""
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their newlines. Raises ProtocolError on one over the limit."""
        *lines, self._data = (self._data + data).split(b"\n")
        if len(self._data) >= self._limit or any(len(line) >= self._limit for line in lines):
            self._data = b""
            raise ProtocolError(f"a message is over the limit of {self._limit} bytes")
        return lines

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._data)


def _members(message: Any) -> dict[str, object]:
    return {name: getattr(message, name) for name in _FIELDS[type(message)]}


def _build(kind: type[_Kind], members: dict[str, object]) -> _Kind:
    fields = _FIELDS[kind]
    if members.keys() != fields.keys():
        raise ProtocolError(f"the members of {kind.__name__} are {', '.join(fields)}")
    values = []
    for name, type_name in fields.items():
        try:
            values.append(_FIELD_TYPES[type_name](members[name]))
        except ValueError:
            raise ProtocolError(f"{kind.__name__}.{name} must be {type_name}") from None
    return kind(*values)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _integer(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1e15:  # type: ignore[operator]  # a number, just tested
        raise ValueError
    seconds = float(value)  # type: ignore[arg-type]  # the same
    if not math.isfinite(seconds):
        raise ValueError
    return seconds


def _optional_seconds(value: object) -> float | None:
    return None if value is None else _seconds(value)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError
    value.encode()  # lone surrogates: UnicodeEncodeError, which is a ValueError
    return value


def _waiting(value: object) -> tuple[Waiting, ...]:
    if type(value) is not list or len(value) > LISTED_MAX:
        raise ValueError
    listed = []
    for item in value:
        if type(item) is not dict:
            raise ValueError
        listed.append(_build(Waiting, item))
    return tuple(listed)


_FIELD_TYPES: dict[str, Callable[[object], object]] = {
    "int": _integer,
    "float": _seconds,
    "float | None": _optional_seconds,
    "str": _text,
    "tuple[Waiting, ...]": _waiting,
}

_FIELDS: dict[type[Any], dict[str, str]] = {
    kind: {field.name: str(field.type) for field in dataclasses.fields(kind)} for kind in (*_BY_NAME.values(), Waiting)
}
"""The members of each message, in their order, and their types."""

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_members).encode
_from_json = json.JSONDecoder(parse_constant=_no_constant).decode
