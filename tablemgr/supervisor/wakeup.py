# SPDX-License-Identifier: Apache-2.0
"""A request to stop that reaches a supervisor wherever it waits."""

from __future__ import annotations

import contextlib
import os
import threading


class StopRequest:
    """A flag, and a pipe that ends a wait; to be set from any thread or signal handler."""

    def __init__(self) -> None:
        self.made = False
        self._read = self._write = -1
        # Of those who use the descriptors; a signal handler in the midst of that is the same thread.
        self._lock = threading.RLock()

    def open(self) -> None:
        """From now on there is somebody to stop."""
        self.made = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def close(self) -> None:
        """It has stopped."""
        with self._lock:
            read, write, self._read, self._write = self._read, self._write, -1, -1
            for descriptor in (read, write):
                if descriptor >= 0:
                    os.close(descriptor)

    def make(self) -> None:
        """Ask for it."""
        self.made = True
        with self._lock, contextlib.suppress(BlockingIOError):  # full: it will be read
            if self._write >= 0:
                os.write(self._write, b"x")

    def fileno(self) -> int:
        """Readable when the flag was set; `take_note` ends that."""
        return self._read

    def fileno_to_write(self) -> int:
        """Whatever is written to it ends a wait."""
        return self._write

    def take_note(self) -> None:
        """The flag will be looked at."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 512)
