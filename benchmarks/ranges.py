# SPDX-License-Identifier: Apache-2.0
"""What do short ranges cost? 50 rows from a random key on, alone and as YCSB E has them (5 % inserts)."""

from __future__ import annotations

import functools
import itertools
import random
from typing import Any

from benchmarks import jobs
from benchmarks.adapters import ORDERED_STORES, Operations, Store
from benchmarks.crew import Crew, Load, Prepare
from benchmarks.fleet import filled
from benchmarks.keys import UNIFORM, choose, key
from benchmarks.measure import Figures, Plan, Prepared, chunks, interleaved

QUESTION = "ranges"
SCANNED = 50


def scans(share_of_inserts: float, operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Scans from chosen keys, and among them inserts of new keys from all over the range."""
    scan, put = operations.scan, operations.insert
    if scan is None:
        raise TypeError(f"{store.name} has no order")
    chance = random.Random(jobs.seed(load, member))
    new = itertools.chain.from_iterable(jobs.between(store, member, load))
    starts = choose(max(1, load.rows - SCANNED), jobs.PREPARED, load.keys, jobs.seed(load, member))
    steps: list[tuple[Any, bytes | None]] = [(store.key(key(start)), None) for start in starts]
    for at in range(len(steps)):
        if chance.random() < share_of_inserts:
            steps[at] = next(new, steps[at])

    def body(piece: Any) -> None:
        for one, content in piece:
            if content is None:
                scan(one, SCANNED)
            else:
                put(one, content)

    return body, chunks(steps)


JOBS: tuple[tuple[str, Prepare], ...] = (
    ("scan", functools.partial(scans, 0.0)),
    ("E", functools.partial(scans, 0.05)),
)


def run(plan: Plan, figures: Figures, crew: Crew, rows: int) -> None:
    """Measure the stores that have an order, at every number of processes; an operation is a scan, or an insert."""
    with filled(plan, crew, rows, ORDERED_STORES) as stores:
        for turn in range(plan.rounds):
            for processes in plan.processes:
                for what, prepare in JOBS:
                    for store in interleaved(turn, stores):
                        load = Load(rows, turn=turn * 8 + processes)
                        results = crew.run(store, prepare, load, processes, plan.seconds)
                        figures.add(
                            sum(result.ns for result in results) / processes,
                            question=QUESTION,
                            what=what,
                            store=store.name,
                            rows=rows,
                            processes=processes,
                            keys=UNIFORM,
                        )
