# SPDX-License-Identifier: Apache-2.0
"""How long do save and load take, beside pickle.dump and pickle.load of the same rows in a dict?"""

from __future__ import annotations

import gc
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tablemgr as tm
from benchmarks.limits import ORDERED, OURS
from benchmarks.measure import Figures, Plan, interleaved

QUESTION = "files"


def run(plan: Plan, figures: Figures, table_name: str, rows: int) -> None:
    """Save and load the large table, and the same rows as an ordered_set, in the system's temporary directory.

    What save does to have the file on the disk is part of its time; pickle leaves that to the system."""
    with tm.attach(table_name) as table, tempfile.TemporaryDirectory(prefix="tablemgr-bench-") as directory:
        pairs: dict[Any, Any] = {row[0]: row[1] for row in table}
        ordered = tm.create(f"bench.{plan.tag}.ordered", type="ordered_set")
        try:
            ordered.insert(list(pairs.items()))
            steps: dict[str, Callable[[], tuple[int, int]]] = {
                "pickle": lambda: _pickle(pairs, Path(directory, "pickle")),
                OURS: lambda: _save_and_load(table, Path(directory, "set")),
                ORDERED: lambda: _save_and_load(ordered, Path(directory, "ordered")),
            }
            for turn in range(plan.rounds):
                for store, step in interleaved(turn, list(steps.items())):
                    out, back = step()
                    for what, ns in (("save", out), ("load", back)):
                        figures.add(ns, question=QUESTION, what=what, store=store, rows=rows)
        finally:
            ordered.drop()


def _pickle(pairs: dict[Any, Any], path: Path) -> tuple[int, int]:
    def dump() -> None:
        with open(path, "wb") as file:
            pickle.dump(pairs, file)

    def load() -> object:
        with open(path, "rb") as file:
            return pickle.load(file)

    times = _ns(dump), _ns(load)
    os.unlink(path)
    return times


def _save_and_load(table: tm.Table, path: Path) -> tuple[int, int]:
    made: list[tm.Table] = []
    times = (
        _ns(lambda: tm.save(table, path)),
        _ns(lambda: made.append(tm.load(path, name=f"{table.name}.loaded", codec=table.codec))),
    )
    made[0].drop()
    os.unlink(path)
    return times


def _ns(step: Callable[[], object]) -> int:
    """Nanoseconds, garbage collection off; what the step returns is thrown away afterwards."""
    gc.disable()
    try:
        start = time.perf_counter_ns()
        kept = step()
        elapsed = time.perf_counter_ns() - start
    finally:
        gc.enable()
    del kept
    return elapsed
