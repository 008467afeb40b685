# SPDX-License-Identifier: Apache-2.0
"""What does order cost? get, overwrite, insert, delete of one key of an ordered_set, by one and by two processes."""

from __future__ import annotations

from benchmarks import jobs
from benchmarks.adapters import ORDERED_STORES, TableStore
from benchmarks.crew import Crew, Load, Prepare
from benchmarks.fleet import Kinds, filled
from benchmarks.keys import UNIFORM
from benchmarks.measure import Figures, Plan, interleaved

QUESTION = "ordered_set"
WHOLE_JOB_SECONDS = 60.0
PEERS: Kinds = (*ORDERED_STORES, TableStore)
"""The table without order is there to tell what order costs."""

JOBS: tuple[tuple[str, Prepare], ...] = (
    ("get", jobs.get),
    ("overwrite", jobs.overwrite),
    ("insert", jobs.insert_between),
    ("delete", jobs.delete_between),
)


def run(plan: Plan, figures: Figures, crew: Crew, rows: int) -> None:
    """Measure with one and with two processes; new keys lie all over the range of those that are there."""
    with filled(plan, crew, rows, PEERS) as stores:
        for turn in range(plan.rounds):
            for processes in (1, 2):
                for what, prepare in JOBS:
                    # `delete` removes all that `insert` made, so that every round begins with the same table.
                    seconds = WHOLE_JOB_SECONDS if what == "delete" else plan.seconds
                    for store in interleaved(turn, stores):
                        results = crew.run(store, prepare, Load(rows, turn=turn * 2 + processes), processes, seconds)
                        figures.add(
                            sum(result.ns for result in results) / processes,
                            question=QUESTION,
                            what=what,
                            store=store.name,
                            rows=rows,
                            processes=processes,
                            keys=UNIFORM,
                        )
