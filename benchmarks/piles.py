# SPDX-License-Identifier: Apache-2.0
"""Do inserts onto a key grow dearer with its rows? A duplicate_bag, and beside it a bag, which holds a row once."""

from __future__ import annotations

from typing import Any

import tablemgr as tm
from benchmarks.jobs import FILL_BATCH
from benchmarks.measure import Figures, Plan, Prepared, contrast
from tablemgr import segments

QUESTION = "bags"
PILES = (("duplicate_bag", 100_000), ("bag", 1_000))
INSERTS = 10_000
"""Per round and pile."""
PILE = 0


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Measure inserts onto a key with many rows and onto keys with one; `rows` limits the pile. Returns what was
    left out."""
    skipped = [kind for kind, _ in PILES if kind not in segments.TYPES]
    for kind, most in PILES:
        if kind not in skipped:
            measure(plan, figures, kind, min(most, rows))
    return "" if not skipped else f"bags: skipped {', '.join(skipped)}: there is no table of this type yet"


def measure(plan: Plan, figures: Figures, kind: str, pile_rows: int) -> None:
    """One type of table."""
    inserts = min(INSERTS, pile_rows)
    table = tm.create(f"bench.{plan.tag}.{kind}", type=kind, access="public", heir="manager")
    try:
        content = [(PILE, number) for number in range(pile_rows)]
        content += [(one, 0) for one in range(1, inserts * plan.rounds + 1)]
        for at in range(0, len(content), FILL_BATCH):
            table.insert(content[at : at + FILL_BATCH])
        rounds = iter(range(plan.rounds)), iter(range(plan.rounds))

        def inserting(onto_pile: bool) -> Prepared:
            first = next(rounds[onto_pile]) * inserts
            numbers = range(first, first + inserts)
            insert = table.insert

            def body(piece: Any) -> None:
                for row in piece:
                    insert(row)

            rows = [(PILE, pile_rows + number) if onto_pile else (1 + number, 1) for number in numbers]
            return body, [rows]

        contrast(
            plan,
            figures,
            {"question": QUESTION, "what": f"{kind}, insert onto a key", "rows": pile_rows},
            {"with many rows": lambda: inserting(True), "with 1 row": lambda: inserting(False)},
        )
    finally:
        table.drop()
