# SPDX-License-Identifier: Apache-2.0
"""Erlang's external term format, as far as the tests need it, and what Python's values are in Erlang.

int, float, tuple, list, dict: integer, float, tuple, list, map. True and False: the atoms; None: the atom `absent`,
which like None comes before them. str and bytes: binaries with a letter before them, `s` and `t`, so that they are told
apart and keep their order.
"""

import struct
from typing import Any

VERSION = 131
NONE = "absent"


class Atom(str):
    """An atom that stands for no Python value: the name of a function, a variable of a match specification."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{self!s}'"


def encode(value: Any) -> bytes:
    """A value as an external term."""
    return bytes([VERSION]) + _encode(value)


def decode(data: bytes) -> Any:
    """The value of an external term."""
    assert data[0] == VERSION
    value, end = _decode(data, 1)
    assert end == len(data)
    return value


def _encode(value: Any) -> bytes:
    if value is None or isinstance(value, (bool, Atom)):
        name = (NONE if value is None else str(value).lower() if isinstance(value, bool) else str(value)).encode()
        return struct.pack(">BB", 119, len(name)) + name
    if isinstance(value, int):
        return _encode_int(value)
    if isinstance(value, float):
        return struct.pack(">Bd", 70, value)
    if isinstance(value, (str, bytes)):
        data = b"s" + value.encode() if isinstance(value, str) else b"t" + value
        return struct.pack(">BI", 109, len(data)) + data
    if isinstance(value, tuple):
        return struct.pack(">BI", 105, len(value)) + b"".join(map(_encode, value))
    if isinstance(value, list):
        return (struct.pack(">BI", 108, len(value)) + b"".join(map(_encode, value)) if value else b"") + b"\x6a"
    assert isinstance(value, dict), value
    return struct.pack(">BI", 116, len(value)) + b"".join(_encode(part) for item in value.items() for part in item)


def _encode_int(value: int) -> bytes:
    if 0 <= value < 256:
        return struct.pack(">BB", 97, value)
    if -(2**31) <= value < 2**31:
        return struct.pack(">Bi", 98, value)
    magnitude = abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "little")
    return struct.pack(">BIB", 111, len(magnitude), value < 0) + magnitude


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    tag, at = data[at], at + 1
    if tag == 97:
        return data[at], at + 1
    if tag == 98:
        return struct.unpack_from(">i", data, at)[0], at + 4
    if tag == 70:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if tag in (100, 115, 118, 119):  # atoms: Latin-1 and UTF-8, with two bytes of length and with one
        length, at = (data[at], at + 1) if tag in (115, 119) else (int.from_bytes(data[at : at + 2], "big"), at + 2)
        name = data[at : at + length].decode("latin-1" if tag in (100, 115) else "utf-8")
        return {NONE: None, "true": True, "false": False}.get(name, Atom(name)), at + length
    if tag == 106:
        return [], at
    if tag == 107:  # a list of small integers
        length = int.from_bytes(data[at : at + 2], "big")
        return list(data[at + 2 : at + 2 + length]), at + 2 + length
    if tag in (110, 111):
        length, at = (data[at], at + 1) if tag == 110 else (int.from_bytes(data[at : at + 4], "big"), at + 4)
        magnitude = int.from_bytes(data[at + 1 : at + 1 + length], "little")
        return -magnitude if data[at] else magnitude, at + 1 + length
    length, at = (data[at], at + 1) if tag == 104 else (int.from_bytes(data[at : at + 4], "big"), at + 4)
    if tag == 109:
        return _text(data[at : at + length]), at + length
    values = []
    for _ in range(length * 2 if tag == 116 else length):
        value, at = _decode(data, at)
        values.append(value)
    if tag in (104, 105):
        return tuple(values), at
    if tag == 116:
        return dict(zip(values[::2], values[1::2], strict=True)), at
    assert (tag, data[at]) == (108, 106), "only proper lists"
    return values, at + 1


def _text(data: bytes) -> str | bytes:
    return data[1:].decode() if data[:1] == b"s" else data[1:]
