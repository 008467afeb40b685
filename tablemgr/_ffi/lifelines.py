# SPDX-License-Identifier: Apache-2.0
"""Lifelines: the kernel wakes up who sleeps on one when its process ends, sooner than by a pidfd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tablemgr._core import ffi, lib
from tablemgr._ffi.facts import OK

LIFELINES_MAX: Final = 127


def lifeline() -> int:
    """The descriptor of this process's lifeline, to be shown to a manager; it stays the core's.

    The calling thread holds the line's lock from the first call on. Raises OSError where there can be none.
    """
    descriptor = ffi.new("int *")
    status = lib.tmgr_lifeline(descriptor)
    if status != OK:
        raise OSError(lib.tmgr_errno(), "cannot make a lifeline")
    return int(descriptor[0])


class Lifeline:
    """The lifeline of another process, from the descriptor that it has shown."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError, also if it is none."""
        pointer = ffi.new("uint8_t **")
        status = lib.tmgr_lifeline_map(descriptor, pointer)
        if status != OK:
            raise OSError(lib.tmgr_errno(), "cannot map a lifeline")
        self.pointer = pointer[0]

    def unmap(self) -> None:
        """End its use; not while anybody sleeps on it."""
        lib.tmgr_lifeline_unmap(self.pointer)


class Alarm:
    """What wakes up one who sleeps on lifelines. Thread-safe."""

    def __init__(self) -> None:
        self._word = ffi.new("uint32_t *")

    def ring(self) -> None:
        """Wake up who sleeps, or is about to without having heard this one."""
        lib.tmgr_alarm(self._word)

    def heard(self) -> int:
        """To be asked for before looking at what the alarm may be about."""
        return int(self._word[0])

    def sleep(self, lines: Sequence[Lifeline], heard: int) -> int | None:
        """Until the holder of one of at most LIFELINES_MAX lines has ended: its number; None: rung, or for no reason.

        Raises OSError where the kernel has no way to do so (before Linux 5.16).
        """
        ended = ffi.new("size_t *")
        pointers = ffi.new("uint8_t *[]", [line.pointer for line in lines])
        status = lib.tmgr_lifelines_wait(pointers, len(lines), self._word, heard, ended)
        if status != OK:
            raise OSError(lib.tmgr_errno(), "cannot sleep on lifelines")
        return int(ended[0]) if ended[0] < len(lines) else None
