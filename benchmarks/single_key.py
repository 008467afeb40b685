# SPDX-License-Identifier: Apache-2.0
"""What does one operation on one key cost? get, overwrite, insert, delete, increment, by one and by two processes."""

from __future__ import annotations

from benchmarks import jobs
from benchmarks.crew import Crew, Load, Prepare
from benchmarks.fleet import filled
from benchmarks.keys import UNIFORM, ZIPFIAN
from benchmarks.measure import Figures, Plan, interleaved

QUESTION = "single_key"
WHOLE_JOB_SECONDS = 60.0

JOBS: tuple[tuple[str, str, Prepare], ...] = (
    ("get", ZIPFIAN, jobs.get),
    ("get", UNIFORM, jobs.get),
    ("overwrite", UNIFORM, jobs.overwrite),
    ("increment", UNIFORM, jobs.increment),
    ("insert", UNIFORM, jobs.insert),
    ("delete", UNIFORM, jobs.delete),
)


def run(plan: Plan, figures: Figures, crew: Crew, rows: int) -> None:
    """Measure every store with one process, and those that can be shared with two."""
    with filled(plan, crew, rows) as stores:
        for turn in range(plan.rounds):
            for processes in (1, 2):
                for what, keys, prepare in JOBS:
                    # `delete` removes all that `insert` made, so that every round begins with the same table.
                    seconds = WHOLE_JOB_SECONDS if what == "delete" else plan.seconds
                    for store in interleaved(turn, stores):
                        if processes > 1 and not store.shared:
                            continue
                        load = Load(rows, keys, turn * 2 + processes)
                        results = crew.run(store, prepare, load, processes, seconds)
                        figures.add(
                            sum(result.ns for result in results) / processes,
                            question=QUESTION,
                            what=what,
                            store=store.name,
                            rows=rows,
                            processes=processes,
                            keys=keys,
                        )
