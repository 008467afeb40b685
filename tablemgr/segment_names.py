# SPDX-License-Identifier: Apache-2.0
"""The names of segments: where the tables of an instance stand in /dev/shm.

A table is the segment /dev/shm/tablemgr.INSTANCE.NAME, both parts percent-encoded, so every name is stored exactly and
names of different instances cannot meet.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

SHM: Final = Path("/dev/shm")
INSTANCE_VARIABLE: Final = "TABLEMGR_INSTANCE"
NAME_MAX: Final = 255  # bytes of a segment's name, slash included

_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+")


def resolve_instance(instance: str | None = None) -> str:
    """The instance that is meant: the argument, $TABLEMGR_INSTANCE, or "default". Raises TypeError, ValueError."""
    if instance is None:
        instance = os.environ.get(INSTANCE_VARIABLE) or "default"
    _encode(instance, "an instance")
    return instance


def segment_name(instance: str, name: str) -> str:
    """The name of a table's segment. Raises TypeError, ValueError for what cannot be a name, saying why."""
    segment = f"/tablemgr.{_encode(instance, 'an instance')}.{_encode(name, 'a table')}"
    if len(segment) > NAME_MAX:
        raise ValueError(
            f"the name {_shown(name)} is too long: '/tablemgr.INSTANCE.NAME' may have {NAME_MAX} characters and would "
            f"have {len(segment)} (what is not an ASCII letter, digit, '_' or '-' takes 3 per byte of UTF-8)"
        )
    return segment


def parse_segment_name(segment: str) -> tuple[str, str] | None:
    """(instance, name) of a segment's name, with or without its slash; None if it is not one of ours."""
    parts = segment.removeprefix("/").split(".")
    if len(parts) != 3 or parts[0] != "tablemgr" or not all(_ENCODED.fullmatch(part) for part in parts[1:]):
        return None
    try:
        instance, name = (unquote_to_bytes(part).decode() for part in parts[1:])
        return (instance, name) if segment_name(instance, name) == "/" + segment.removeprefix("/") else None
    except ValueError:
        return None


def scan(instance: str) -> list[tuple[str, str]]:
    """(name, segment) of everything in /dev/shm that bears a name of this instance, sorted; a look, not a use."""
    return sorted((name, "/" + entry) for entry, name in names_of_entries(instance, {}).items())


def names_of_entries(instance: str, known: dict[str, str]) -> dict[str, str]:
    """The table's name of each entry of /dev/shm that bears one of this instance; known: what this said before."""
    prefix = f"tablemgr.{_encode(instance, 'an instance')}."
    found = {}
    for entry in os.listdir(SHM):
        if entry.startswith(prefix):
            name = known.get(entry)
            if name is None:
                parsed = parse_segment_name(entry)
                if parsed is None:
                    continue
                name = parsed[1]
            found[entry] = name
    return found


def _encode(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of {what} must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError(f"the name of {what} must not be empty")
    if "\0" in name:
        raise ValueError(f"the name {_shown(name)} of {what} has a NUL character in it")
    try:
        return _quoted(name)
    except UnicodeEncodeError:
        raise ValueError(f"the name {_shown(name)} of {what} has a lone surrogate in it, which is no text") from None


@functools.lru_cache(maxsize=1024)  # a manager is asked for the same ones again and again
def _quoted(name: str) -> str:
    # quote() leaves dots and tildes as they are: dots part the segment's name, so they must go
    return quote(name.encode(), safe="").replace(".", "%2E").replace("~", "%7E")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 40 else name[:37] + "...")
