# SPDX-License-Identifier: Apache-2.0
"""Other processes for the tests of the command line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import tablemgr as tm

PATIENCE = 60.0


def command(*argv: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """`tablemgr` as a process of its own, without a terminal; what takes too long is interrupted, so it cleans up."""
    run = subprocess.Popen(
        [sys.executable, "-m", "tablemgr", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = run.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=timeout)
        raise
    return subprocess.CompletedProcess(run.args, run.returncode, out, err)


def make_orphan(name: str, rows: Sequence[tuple[Any, ...]] = (), **options: Any) -> None:
    """A table whose owner has been SIGKILLed."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_own, args=(there, name, list(rows), options))
    process.start()
    assert here.poll(PATIENCE)
    assert here.recv() == "made"
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()


def _own(pipe: Connection, name: str, rows: list[tuple[Any, ...]], options: dict[str, Any]) -> None:
    table = tm.create(name, heir="manager", **options)
    if rows:
        table.insert(rows)
    pipe.send("made")
    signal.pause()


class Owner:
    """A live process that owns a table; ends with the block."""

    def __init__(self, name: str, **options: Any) -> None:
        self._here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_own, args=(there, name, [(1, "row")], options))

    def __enter__(self) -> Owner:
        self._process.start()
        assert self._here.poll(PATIENCE)
        self._here.recv()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def pid(self) -> int:
        return self._process.pid or 0
