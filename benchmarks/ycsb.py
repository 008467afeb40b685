# SPDX-License-Identifier: Apache-2.0
"""What do mixed loads cost? YCSB A (half writes), B (5 % writes), C (reads), F (half read-modify-write)."""

from __future__ import annotations

import functools

from benchmarks import jobs
from benchmarks.adapters import DiskcacheStore, LmdbStore, ManagerDictStore, RedisStore, SharedDictStore
from benchmarks.crew import Crew, Load
from benchmarks.fleet import filled
from benchmarks.keys import UNIFORM, ZIPFIAN
from benchmarks.measure import Figures, Plan, interleaved

QUESTION = "ycsb"
PEERS = (SharedDictStore, LmdbStore, ManagerDictStore, RedisStore, DiskcacheStore)
WORKLOADS = {
    "A": functools.partial(jobs.mixed, 0.5, False),
    "B": functools.partial(jobs.mixed, 0.05, False),
    "C": functools.partial(jobs.mixed, 0.0, False),
    "F": functools.partial(jobs.mixed, 0.5, True),
}


def run(plan: Plan, figures: Figures, crew: Crew, rows: int) -> None:
    """Measure the stores that can be shared, at every number of processes, uniform and zipfian."""
    with filled(plan, crew, rows, PEERS) as stores:
        for turn in range(plan.rounds):
            for processes in plan.processes:
                for keys in (ZIPFIAN, UNIFORM):
                    for workload, prepare in WORKLOADS.items():
                        for store in interleaved(turn, stores):
                            load = Load(rows, keys, turn * 8 + processes)
                            results = crew.run(store, prepare, load, processes, plan.seconds)
                            figures.add(
                                sum(result.ns for result in results) / processes,
                                question=QUESTION,
                                what=workload,
                                store=store.name,
                                rows=rows,
                                processes=processes,
                                keys=keys,
                            )
