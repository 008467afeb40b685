# SPDX-License-Identifier: Apache-2.0
"""What do batches cost per row? Look 1,000 keys up, insert 1,000 rows in random key order, go through all rows."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from typing import Any

from benchmarks import jobs
from benchmarks.adapters import Operations, Store
from benchmarks.crew import Crew, Load, Prepare
from benchmarks.fleet import filled
from benchmarks.keys import choose, key, value
from benchmarks.measure import Figures, Plan, Prepared, chunks, interleaved

QUESTION = "batches"
BATCH = 1000
BATCHES = 30
WHOLE_JOB_SECONDS = 60.0


def lookup_many(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Batches of chosen keys, over and over: once is a few milliseconds, which another process may have taken."""
    numbers = choose(load.rows, BATCH * BATCHES, load.keys, jobs.seed(load, member))
    wanted = [store.key(key(number)) for number in numbers]
    return operations.lookup_many, chunks(wanted, BATCH)


def insert_many(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Batches of new rows whose keys are in random order."""
    numbers = list(range(jobs.FRESH, jobs.FRESH + BATCH * BATCHES))
    random.Random(jobs.seed(load, member)).shuffle(numbers)
    pairs = [(store.key(key(number)), value(number % jobs.FRESH)) for number in numbers]
    return operations.insert_many, [pairs[at : at + BATCH] for at in range(0, len(pairs), BATCH)]


def remove_batches(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Not measured: what `insert_many` made goes again; where the time did not suffice for all, some are not there."""

    def body(piece: Any) -> None:
        for number in piece:
            with contextlib.suppress(KeyError):
                operations.delete(store.key(key(number)))

    return body, [range(jobs.FRESH, jobs.FRESH + BATCH * BATCHES)]


def iterate(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """All rows once; counts as many operations as there are rows."""

    def body(piece: Any) -> None:
        deque(operations.items(), maxlen=0)

    return body, [range(load.rows)]


JOBS: tuple[tuple[str, Prepare], ...] = (
    ("lookup_many", lookup_many),
    ("insert_many", insert_many),
    ("iterate", iterate),
)


def run(plan: Plan, figures: Figures, crew: Crew, rows: int) -> None:
    """Measure every store with one process."""
    with filled(plan, crew, rows) as stores:
        for turn in range(plan.rounds):
            for what, prepare in JOBS:
                for store in interleaved(turn, stores):
                    load = Load(rows, turn=turn)
                    (result,) = crew.run(store, prepare, load, 1, plan.seconds)
                    if what == "insert_many":
                        # The same keys are new again in the next round.
                        crew.run(store, remove_batches, load, 1, WHOLE_JOB_SECONDS)
                    figures.add(result.ns, question=QUESTION, what=what, store=store.name, rows=rows)
