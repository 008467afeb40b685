# SPDX-License-Identifier: Apache-2.0
"""The options of a table as they are given to `create` and its kin: checked, and in the core's numbers."""

from __future__ import annotations

import math
import operator
from multiprocessing.process import BaseProcess
from typing import Any, Final, NamedTuple, SupportsIndex

from tablemgr import _ffi, codec as codecs, names, segments
from tablemgr.errors import TableMismatchError

_LONGEST_WAIT: Final = 1e9  # seconds; what is longer is this


class Options(NamedTuple):
    """The options of a table that is to be made, checked, in the core's numbers."""

    type: int
    access: int
    keypos: int
    heir: int
    heir_process: tuple[int, int]
    heir_data: bytes
    max_bytes: int
    mode: int
    codec: int


def check_options(
    *,
    type: str = "set",
    access: str = "protected",
    keypos: SupportsIndex = 0,
    heir: Any = None,
    heir_data: Any = None,
    max_bytes: SupportsIndex | None = None,
    mode: int = 0o600,
    codec: str = codecs.MSGPACK,
    instance: str = "",
) -> Options:
    """The options as the core takes them. Raises TypeError, ValueError or LookupError as `create` does."""
    codec_number = codecs.number_of(codec)
    position = whole(keypos, "keypos")
    if not 0 <= position < 2**31:
        raise ValueError(f"keypos counts the elements of a row from 0, it cannot be {position}")
    limit = 0 if max_bytes is None else whole(max_bytes, "max_bytes")
    if max_bytes is not None and not 0 < limit < 2**63:
        raise ValueError(f"max_bytes must be a number of bytes or None for no limit, not {limit}")
    bits = whole(mode, "mode")
    if not 0 <= bits <= 0o777 or bits & 0o600 != 0o600:
        raise ValueError(f"mode must be permission bits that let the owner read and write, like 0o600, not {bits:#o}")
    kind, process = heir_of(heir, instance)
    if kind == _ffi.HEIR_NONE and heir_data is not None:
        raise ValueError("heir_data without an heir would reach nobody: name an heir, or leave it out")
    return Options(
        type=one_of(segments.TYPES, type, "type"),
        access=one_of(segments.ACCESSES, access, "access"),
        keypos=position,
        heir=kind,
        heir_process=process,
        heir_data=codecs.encode_data(heir_data, codec),
        max_bytes=limit,
        mode=bits,
        codec=codec_number,
    )


def check_match(seen: _ffi.RawInfo, wanted: Options, doing: str) -> None:
    """Raise TableMismatchError unless the existing table is of the kind that is asked for."""
    differences = []
    if seen.type != wanted.type:
        differences.append(f"type is not {segments.TYPES[wanted.type]!r}")
    if seen.keypos != wanted.keypos:
        differences.append(f"keypos is {seen.keypos}, not {wanted.keypos}")
    if seen.codec != wanted.codec:
        differences.append(f"codec is {codecs.name_of(seen.codec)!r}, not {codecs.name_of(wanted.codec)!r}")
    if differences:
        raise TableMismatchError(
            f"{doing}: table {seen.name!r} exists, and its {', its '.join(differences)}; ask for that, or drop it"
        )


def whole(value: SupportsIndex, what: str) -> int:
    """An int that is no bool. Raises TypeError; what: the argument that is to be named then, here and below."""
    if isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an int, not {value.__class__.__name__}") from None


def seconds_of(value: float, what: str) -> float:
    """A time to wait. Raises TypeError, ValueError; what: the argument that is to be named then."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, not {value.__class__.__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{what} must be a number of seconds from 0 up, not {value}")
    return float(min(value, _LONGEST_WAIT))


def one_of(names: tuple[str, ...], value: Any, what: str) -> int:
    """The position of a name among those there are. Raises TypeError, ValueError."""
    choice = " or ".join(map(repr, names))
    if not isinstance(value, str):
        raise TypeError(f"{what} must be {choice}, not {value.__class__.__name__}")
    if value not in names:
        raise ValueError(f"{what} must be {choice}, not {value!r}")
    return names.index(value)


def heir_of(heir: Any, instance: str) -> tuple[int, tuple[int, int]]:
    """(kind, process) of what was given as an heir. Raises TypeError, LookupError."""
    if heir is None:
        return _ffi.HEIR_NONE, (0, 0)
    if isinstance(heir, str) and heir == "manager":
        return _ffi.HEIR_MANAGER, (0, 0)
    return _ffi.HEIR_PROCESS, process_of(heir, "the heir", instance)


def process_of(process: Any, what: str, instance: str) -> tuple[int, int]:
    """(pid, start) of a process that was given by its pid, its object or its name. Raises TypeError, LookupError.

    start 0: whoever has the pid when it is used, for the caller said no more.
    """
    if isinstance(process, str):
        found = names.whereis(instance, process)
        if found is None:
            raise LookupError(f"{what}, {process!r}, is no process: none of that name is registered and alive")
        return found
    if isinstance(process, BaseProcess):
        if process.pid is None:
            raise LookupError(f"{what}, {process.name}, is not started yet: it has no pid")
        if process.exitcode is not None:  # asking waits for a dead one: somebody else may have its pid from now on
            raise LookupError(f"{what}, {process.name}, has ended")
        return process.pid, 0
    if isinstance(process, segments.Process):
        pid, start = process.pid, process.start
    elif isinstance(process, bool) or not hasattr(process, "__index__"):
        hint = ": whereis gives that where nobody of the name is registered and alive" if process is None else ""
        raise TypeError(f"{what} must be a pid, a Process or a registered name, not {process.__class__.__name__}{hint}")
    else:
        pid, start = operator.index(process), 0
    if not (0 < pid < 2**31 and 0 <= start < 2**63):
        raise LookupError(f"{what} is no process: there is no pid {pid}{f' that began at {start}' if start else ''}")
    return pid, start
