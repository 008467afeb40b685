# SPDX-License-Identifier: Apache-2.0
"""Processes that measure: started once, each with its own connection to the store under test.

A job is a module-level function `prepare(operations, store, member, load) -> (body, pieces)`. All members prepare, then
all start at one moment and run for the same time, so that none of them runs against an idle store."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from benchmarks.adapters import Operations, Store
from benchmarks.keys import UNIFORM
from benchmarks.measure import Prepared, timed

START_DELAY = 0.02
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a job works on: rows in the store, how keys are chosen, and the turn, which no two measurements share."""

    rows: int
    keys: str = UNIFORM
    turn: int = 0


Prepare = Callable[[Operations, Store, int, Load], Prepared]


@dataclass(frozen=True, slots=True)
class Result:
    """What one member did: operations and nanoseconds."""

    done: int
    elapsed: int

    @property
    def ns(self) -> float:
        """Nanoseconds per operation as this member saw them."""
        return self.elapsed / max(1, self.done)


class Crew:
    """Up to `size` measuring processes; use as a context manager."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._members: list[tuple[BaseProcess, Connection]] = []
        for number in range(size):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, number), daemon=True)
            process.start()
            there.close()
            self._members.append((process, here))

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exc: object) -> None:
        for process, pipe in self._members:
            pipe.close()
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def run(self, store: Store, prepare: Prepare, load: Load, processes: int, seconds: float) -> list[Result]:
        """Let `processes` members do the same job at the same time, until it is done or `seconds` are over; a result
        per member, in order. The first member is always the same process."""
        crew = self._members[:processes]
        for _, pipe in crew:
            pipe.send((store, prepare, load))
        self._answers(crew)
        start = time.perf_counter() + START_DELAY
        for _, pipe in crew:
            pipe.send((start, seconds))
        return [Result(*answer) for answer in self._answers(crew)]

    def release(self) -> None:
        """Let every member close its connection: before a store is destroyed."""
        for _, pipe in self._members:
            pipe.send(None)
        self._answers(self._members)

    def _answers(self, crew: Sequence[tuple[BaseProcess, Connection]]) -> list[Any]:
        answers = []
        for process, pipe in crew:
            if not pipe.poll(PATIENCE):
                raise RuntimeError(f"measuring process {process.pid} did not answer for {PATIENCE:g} s")
            try:
                ok, answer = pipe.recv()
            except EOFError:
                raise RuntimeError(f"measuring process {process.pid} ended") from None
            if not ok:
                raise RuntimeError(f"a measuring process failed:\n{answer}")
            answers.append(answer)
        return answers


def _serve(pipe: Connection, member: int) -> None:
    connected: dict[tuple[str, str], Operations] = {}
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        try:
            if message is None:
                for operations in connected.values():
                    operations.close()
                connected.clear()
                pipe.send((True, None))
                continue
            store, prepare, load = message
            identity = (store.name, store.tag)
            if identity not in connected:
                connected[identity] = store.connect()
            body, pieces = prepare(connected[identity], store, member, load)
            pipe.send((True, None))
            start, seconds = pipe.recv()
            while time.perf_counter() < start:
                pass
            pipe.send((True, timed(body, pieces, seconds)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
