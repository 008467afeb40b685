# SPDX-License-Identifier: Apache-2.0
"""The same work done otherwise, on a sample of the files: one process with a dict, several with `Manager().dict()`, and
several with a table that nobody fires at."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tablemgr import segments, table
from tablemgr.cli.demo.work import count_file

PATIENCE_SECONDS = 120.0
CALM = "identifiers-calm"


def with_dict(files: Sequence[Path]) -> tuple[float, Counter[str]]:
    """Seconds that one process with a dict takes, and its counts."""
    start = time.monotonic()
    counts: Counter[str] = Counter()
    for path in files:
        counts.update(count_file(path))
    return time.monotonic() - start, counts


def with_manager_dict(files: Sequence[Path], n_workers: int) -> tuple[float, Counter[str]]:
    """Seconds that several processes with one `Manager().dict()` take; a lock per file keeps its counts together."""
    with multiprocessing.Manager() as manager:
        proxy, lock = manager.dict(), manager.Lock()
        seconds = _in_processes(_into_proxy, files, n_workers, (proxy, lock))
        return seconds, Counter(proxy.copy())


def _into_proxy(files: Sequence[Path], proxy: Any, lock: Any) -> None:
    for path in files:
        counts = count_file(path)
        with lock:
            for word, n in counts.items():
                proxy[word] = proxy.get(word, 0) + n


def with_table(files: Sequence[Path], n_workers: int, instance: str) -> tuple[float, Counter[str]]:
    """Seconds that several processes with one table take, a file's counts in one `atomic()` block."""
    shared = table.create(CALM, access="public", instance=instance)
    try:
        seconds = _in_processes(_into_table, files, n_workers, (instance,))
        return seconds, Counter(dict(shared))
    finally:
        shared.close()
        segments.drop(CALM, instance=instance, force=True)


def _into_table(files: Sequence[Path], instance: str) -> None:
    with table.attach(CALM, instance=instance) as shared:
        for path in files:
            with shared.atomic() as tx:
                for word, n in count_file(path).items():
                    tx.update_counter(word, n, (word, 0))


def _in_processes(
    target: Callable[..., None], files: Sequence[Path], n_workers: int, args: tuple[object, ...]
) -> float:
    """Seconds from the word "go" until the last process is done; starting processes is not counted."""
    workers = []
    try:
        for number in range(n_workers):
            here, there = multiprocessing.Pipe()
            process = multiprocessing.Process(target=_member, args=(there, target, files[number::n_workers], args))
            process.start()
            there.close()
            workers.append((process, here))
        _hear_from(workers)
        start = time.monotonic()
        for _, here in workers:
            here.send("go")
        _hear_from(workers)
        return time.monotonic() - start
    finally:
        for process, here in workers:
            here.close()
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()


def _hear_from(workers: Sequence[tuple[multiprocessing.Process, Connection]]) -> None:
    for process, here in workers:
        if not here.poll(PATIENCE_SECONDS):
            raise TimeoutError(f"process {process.pid} of the comparison did not answer for {PATIENCE_SECONDS:g} s")
        try:
            here.recv()
        except EOFError:
            raise RuntimeError(f"process {process.pid} of the comparison ended early") from None


def _member(pipe: Connection, target: Callable[..., None], files: Sequence[Path], args: tuple[object, ...]) -> None:
    pipe.send("ready")
    pipe.recv()
    target(files, *args)
    pipe.send("done")
