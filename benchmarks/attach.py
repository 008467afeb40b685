# SPDX-License-Identifier: Apache-2.0
"""What does it cost to attach? To a large table and to an empty one; with the first lookup, and without."""

from __future__ import annotations

import time

import tablemgr as tm
from benchmarks.keys import key
from benchmarks.measure import Figures, Plan

QUESTION = "attach"
ATTACHES = 100


def run(plan: Plan, figures: Figures, table_name: str, rows: int) -> None:
    """Attach and close in turns; a figure is the median of one round's attaches."""
    empty_name = f"bench.{plan.tag}.empty"
    tm.create(empty_name, access="public", heir="manager").close()
    try:
        for _ in range(plan.rounds):
            times: dict[tuple[str, int], list[int]] = {}
            for _ in range(ATTACHES):
                for name, n_rows in ((table_name, rows), (empty_name, 0)):
                    start = time.perf_counter_ns()
                    table = tm.attach(name)
                    attached = time.perf_counter_ns()
                    table.lookup(key(1))
                    looked = time.perf_counter_ns()
                    table.close()
                    times.setdefault(("attach", n_rows), []).append(attached - start)
                    times.setdefault(("attach and first lookup", n_rows), []).append(looked - start)
            for (what, n_rows), values in times.items():
                median = sorted(values)[len(values) // 2]
                figures.add(median, question=QUESTION, what=what, store="tablemgr", rows=n_rows)
    finally:
        tm.drop(empty_name, force=True)
