# SPDX-License-Identifier: Apache-2.0
"""Tables as JSON lines: nothing is lost, and what JSON has a word for is written in that.

The first line is an object that says what the table is, every other an array that is a row, the last an object with
the number of rows. None, bool, int, float, str, list, and dict with str keys are what they are in JSON. The rest is an
object with one tag, and so is a dict that could be taken for one:

    {"$tuple": [...]} {"$set": [...]} {"$frozenset": [...]} {"$dict": [[key, value], ...]}
    {"$bytes": "base64"} {"$bytearray": "base64"} {"$float": "nan" | "inf" | "-inf"} {"$int": "-0x..."} beyond 64 bits
    {"$decimal": "1.10"} {"$uuid": "..."} {"$date": "2024-02-29"} {"$time": "..."} {"$datetime": "..."} in ISO 8601
    {"$timedelta": [days, seconds, microseconds]}; {"$time": "...", "fold": 1} on the second pass of an hour
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import json
import math
import re
import uuid
from collections.abc import Callable
from typing import Any, Final, NoReturn

_SIMPLE: Final = frozenset({type(None), bool, str})
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64 - 1
_OFFSET_BELOW_A_SECOND: Final = re.compile(r"([+-])00:00:00\.([0-9]{6})$")


def line_of_row(row: tuple[Any, ...]) -> str:
    """One line, without its end. Raises TypeError for a value of a type that is not in the list above."""
    return json.dumps([_tagged(value) for value in row], ensure_ascii=False)


def line_of_facts(facts: dict[str, Any]) -> str:
    """The first or the last line."""
    return json.dumps(facts, ensure_ascii=False)


def parse(line: str) -> tuple[Any, ...] | dict[str, Any]:
    """A row, or the facts of the first or last line. Raises ValueError for what is neither."""
    try:
        value = json.loads(line, object_hook=_untagged, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return value
    raise ValueError("a line is an array, which is a row, or an object that describes the table")


# -- out ---------------------------------------------------------------------------------------------------------------


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if kind is int:
        return value if _LEAST_INT <= value <= _MOST_INT else {"$int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind is list:
        return [_tagged(each) for each in value]
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _tagged(each) for key, each in value.items()}
        return {"$dict": [[_tagged(key), _tagged(each)] for key, each in value.items()]}
    write = _WRITERS.get(kind)
    if write is None:
        raise TypeError(f"JSON lines have no way to write a value of type {kind.__name__}")
    written: dict[str, Any] = {f"${kind.__name__.lower()}": write(value)}
    if getattr(value, "fold", 0):
        written["fold"] = 1
    return written


def _many(values: Any) -> list[Any]:
    return [_tagged(value) for value in values]


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


_WRITERS: Final[dict[type, Callable[[Any], Any]]] = {
    tuple: _many,
    set: _many,
    frozenset: _many,
    bytes: _base64,
    bytearray: _base64,
    decimal.Decimal: str,
    uuid.UUID: str,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.datetime: dt.datetime.isoformat,
    dt.timedelta: lambda value: [value.days, value.seconds, value.microseconds],
}

# -- in ----------------------------------------------------------------------------------------------------------------


def _untagged(members: dict[str, Any]) -> Any:
    tag = next(iter(members), "")
    if not tag.startswith("$"):
        return members
    content = members[tag]
    read = _READERS.get(tag)
    has_fold = len(members) == 2 and members.get("fold") == 1 and tag in ("$time", "$datetime")
    if read is None or not (len(members) == 1 or has_fold):
        raise ValueError(f"an object whose first name is {tag!r} is none that a table can hold")
    try:
        value = read(content)
    except (TypeError, ValueError, ArithmeticError, binascii.Error) as error:
        raise ValueError(f"{tag}: {error}") from None
    return value.replace(fold=1) if has_fold else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; a float that is not finite is {{'$float': '...'}}")


def _list(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise TypeError("an array has to follow")
    return content


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError("a string has to follow")
    return content


def _bytes(content: Any) -> bytes:
    return base64.b64decode(_text(content), validate=True)


def _moment(kind: type[dt.datetime] | type[dt.time]) -> Callable[[Any], Any]:
    """Reads ISO 8601; CPython's own `fromisoformat` takes an offset of less than a second from UTC for UTC."""

    def read(content: Any) -> Any:
        value = kind.fromisoformat(_text(content))
        offset = _OFFSET_BELOW_A_SECOND.search(content)
        if offset is None:
            return value
        return value.replace(tzinfo=dt.timezone(dt.timedelta(microseconds=int(offset[1] + offset[2]))))

    return read


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$tuple": lambda content: tuple(_list(content)),
    "$set": lambda content: set(_list(content)),
    "$frozenset": lambda content: frozenset(_list(content)),
    "$dict": lambda content: {key: value for key, value in map(_list, _list(content))},  # noqa: C416 - pairs exactly
    "$bytes": _bytes,
    "$bytearray": lambda content: bytearray(_bytes(content)),
    "$int": lambda content: int(_text(content), 16),
    "$float": lambda content: float(_text(content)),
    "$decimal": lambda content: decimal.Decimal(_text(content)),
    "$uuid": lambda content: uuid.UUID(_text(content)),
    "$date": lambda content: dt.date.fromisoformat(_text(content)),
    "$time": _moment(dt.time),
    "$datetime": _moment(dt.datetime),
    "$timedelta": lambda content: dt.timedelta(*_list(content)),
}
