# SPDX-License-Identifier: Apache-2.0
"""What do writers cost each other? 1, 2, 4 processes overwrite and increment the same keys; counts stay exact."""

from __future__ import annotations

from typing import Any

from benchmarks import jobs
from benchmarks.adapters import LmdbStore, ManagerDictStore, Operations, RedisStore, SharedDictStore, Store
from benchmarks.crew import Crew, Load
from benchmarks.fleet import filled
from benchmarks.keys import UNIFORM, ZIPFIAN
from benchmarks.measure import Figures, Plan, Prepared, interleaved

QUESTION = "contention"
PEERS = (SharedDictStore, LmdbStore, ManagerDictStore, RedisStore)
COUNTERS = 1000
ALL_SECONDS = 600.0


def count_all(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Reads all counters; one operation "done" is one counted: the pieces are as long as the sum found."""
    total = sum(operations.count(store.key(jobs.counter(number))) for number in range(load.rows))

    def body(piece: Any) -> None:
        """Nothing is left to do: the counting was the preparation."""

    return body, [range(total)]


def counted(crew: Crew, store: Store) -> int:
    """The sum of all counters."""
    return crew.run(store, count_all, Load(COUNTERS), 1, ALL_SECONDS)[0].done


def run(plan: Plan, figures: Figures, crew: Crew, rows: int) -> None:
    """Measure, and compare the counters with the number of increments that returned."""
    with filled(plan, crew, rows, PEERS) as stores:
        for turn in range(plan.rounds):
            for processes in plan.processes:
                for keys in (UNIFORM, ZIPFIAN):
                    for store in interleaved(turn, stores):
                        load = Load(rows, keys, turn * 8 + processes)
                        results = crew.run(store, jobs.overwrite, load, processes, plan.seconds)
                        identity = {"question": QUESTION, "store": store.name, "processes": processes, "keys": keys}
                        ns = sum(result.ns for result in results) / processes
                        figures.add(ns, what="overwrite", rows=rows, **identity)

                        before = counted(crew, store)
                        load = Load(COUNTERS, keys, turn * 8 + processes)
                        results = crew.run(store, jobs.increment, load, processes, plan.seconds)
                        ns = sum(result.ns for result in results) / processes
                        figure = figures.add(ns, what="increment", rows=rows, **identity)
                        lost = before + sum(result.done for result in results) - counted(crew, store)
                        figure.extra["lost_counts"] = figure.extra.get("lost_counts", 0) + lost
