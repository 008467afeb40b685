# SPDX-License-Identifier: Apache-2.0
"""What does a clause save? 1 % of a table by a guard, a row by its key, a group of 1,000 by a prefix of the key."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tablemgr as tm
from benchmarks.jobs import FILL_BATCH
from benchmarks.keys import key, value
from benchmarks.measure import Figures, Plan, Prepared, chunks, contrast

QUESTION = "select"
KEPT_OF_100 = 1
BOUND_KEYS = 200
"""Fewer than the table keeps compiled clauses."""
GROUP_ROWS = 1000


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Measure in this process; each time both ways give the same rows."""
    with made(f"bench.{plan.tag}.guard", "set", [(key(n), n % 100, value(n)) for n in range(rows)]) as table:
        by_guard(plan, figures, table, rows)
        by_key(plan, figures, table, rows)
    grouped = [((n % max(1, rows // GROUP_ROWS), n), value(n)) for n in range(rows)]
    with made(f"bench.{plan.tag}.groups", "ordered_set", grouped) as table:
        by_prefix(plan, figures, table, rows)
    return ""


@contextmanager
def made(name: str, kind: str, content: list[tuple[Any, ...]]) -> Iterator[tm.Table]:
    """A table with these rows, put in in random order."""
    random.Random(1).shuffle(content)
    table = tm.create(name, type=kind, access="public", heir="manager")
    try:
        for at in range(0, len(content), FILL_BATCH):
            table.insert(content[at : at + FILL_BATCH])
        content.clear()
        yield table
    finally:
        table.drop()


def by_guard(plan: Plan, figures: Figures, table: tm.Table, rows: int) -> None:
    """One row of 100, by a guard and by a comparison in Python; the time is per row of the table."""
    number = tm.var(1)
    query = tm.Query(tm.Clause((tm.ANY, number, tm.ANY), [number < KEPT_OF_100]))

    def select(piece: Any) -> None:
        table.select(query)

    def iterate(piece: Any) -> None:
        [row for row in table if row[1] < KEPT_OF_100]

    contrast(
        plan,
        figures,
        {"question": QUESTION, "what": "a guard keeps 1 %, per row of the table", "rows": rows},
        {"tablemgr": lambda: (select, [range(rows)]), "iterate and filter": lambda: (iterate, [range(rows)])},
    )


def by_key(plan: Plan, figures: Figures, table: tm.Table, rows: int) -> None:
    """Single rows: by a kept query, by the same clause again, and by `lookup`."""
    wanted = [key(number) for number in random.Random(2).choices(range(rows), k=BOUND_KEYS)]
    clauses = [tm.Clause((one, tm.ANY, tm.ANY)) for one in wanted]

    def select(ways: list[Any]) -> Prepared:
        ask = table.select

        def body(piece: Any) -> None:
            for one in piece:
                ask(one)

        body(ways)  # compiled from here on

        return body, chunks(ways)

    def lookup() -> Prepared:
        fetch = table.lookup

        def body(piece: Any) -> None:
            for one in piece:
                fetch(one)

        return body, chunks(wanted)

    queries = [tm.Query(clause) for clause in clauses]
    for what, ways in (("key bound, kept Query", queries), ("key bound, same Clause", clauses)):
        contrast(
            plan,
            figures,
            {"question": QUESTION, "what": what, "rows": rows},
            {"tablemgr": lambda ways=ways: select(ways), "lookup": lookup},  # type: ignore[misc]
        )


def by_prefix(plan: Plan, figures: Figures, table: tm.Table, rows: int) -> None:
    """One group by a bound prefix; by a guard, which gives the same rows; and all groups, with nothing bound."""
    group, chance = tm.var(1), random.Random(3)
    groups = max(1, rows // GROUP_ROWS)

    def select(*queries: tm.Query) -> Prepared:
        def body(piece: Any) -> None:
            for query in piece:
                table.select(query)

        return body, chunks(queries, 1)

    def bound() -> Prepared:
        some = (chance.randrange(groups) for _ in range(BOUND_KEYS))
        return select(*(tm.Query(tm.Clause(((one, tm.ANY), tm.ANY))) for one in some))

    def guarded() -> Prepared:
        return select(tm.Query(tm.Clause(((group, tm.ANY), tm.ANY), [group == chance.randrange(groups)])))

    def unbound() -> Prepared:
        return select(tm.Query(tm.Clause(((tm.ANY, tm.ANY), tm.ANY))))

    contrast(
        plan,
        figures,
        {"question": QUESTION, "what": f"prefix bound, {GROUP_ROWS:,} rows kept", "rows": rows},
        {"tablemgr": bound, "guard on the prefix": guarded, "nothing bound": unbound},
    )
