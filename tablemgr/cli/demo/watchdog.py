# SPDX-License-Identifier: Apache-2.0
"""Ends a demo that hangs: a thread that wants to hear something every so often."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from tablemgr import segments
from tablemgr.cli.exits import ExitStatus


class Watchdog:
    """Without a `beat` for `patience` seconds it says so, kills the children, drops our tables and ends with 1."""

    def __init__(self, patience: float, instance: str) -> None:
        self._patience = patience
        self._instance = instance
        self._over = threading.Event()
        self._last = time.monotonic()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def beat(self) -> None:
        """Something has moved."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(max(0.01, self._last + self._patience - time.monotonic())):
            if time.monotonic() - self._last >= self._patience:
                self._end()

    def _end(self) -> None:
        sys.stderr.write(f"\ntablemgr: the demo hangs: nothing has moved for {self._patience:g} seconds\n")
        for pid in _children(self._pid):
            sys.stderr.write(f"tablemgr: killing process {pid}\n")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(Exception):
            for info in segments.tables(self._instance):
                segments.drop(info.name, instance=self._instance, force=True)
        sys.stderr.flush()
        os._exit(ExitStatus.ERROR)


def _children(pid: int) -> list[int]:
    """The children of a process and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_children(child)]
    return found
