# SPDX-License-Identifier: Apache-2.0
"""The names of the codecs, and the encoding of what travels beside rows: data for heirs and receivers."""

from __future__ import annotations

from typing import Any, Final

from tablemgr import _codec, _ffi

MSGPACK: Final = "msgpack"
PICKLE: Final = "pickle"
DATA_MAX: Final = 896  # bytes of data for an heir or a receiver, as the segment has room
NAMES: Final = (MSGPACK, PICKLE)  # the position is the number that the segment holds

_codec.bind(_ffi.API_ADDRESS)


def number_of(name: str) -> int:
    """The number of a codec. Raises TypeError, ValueError naming those there are."""
    if not isinstance(name, str):
        raise TypeError(f"codec must be one of {', '.join(map(repr, NAMES))}, not {type(name).__name__}")
    if name not in NAMES:
        raise ValueError(f"codec must be one of {', '.join(map(repr, NAMES))}, not {name!r}")
    return NAMES.index(name)


def name_of(number: int) -> str:
    """The name of a codec by its number; a number of another version gives its digits."""
    return NAMES[number] if number < len(NAMES) else str(number)


def encode_data(value: object, codec: str) -> bytes:
    """Data for an heir or a receiver; None is no data. Raises TypeError, ValueError like a value in a row."""
    data = b"" if value is None else _codec.encode(value, pickle=codec == PICKLE)
    if len(data) > DATA_MAX:
        raise ValueError(f"data for an heir or a receiver may have {DATA_MAX} bytes in encoded form, not {len(data)}")
    return data


def decode_data(data: bytes, codec: str) -> Any:
    """What encode_data was given. Raises ValueError if pickled data come without codec="pickle"."""
    return _codec.decode(data, pickle=codec == PICKLE) if data else None
