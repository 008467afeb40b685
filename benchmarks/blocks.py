# SPDX-License-Identifier: Apache-2.0
"""What does `atomic()` cost? 10 updates of random keys in a block, beside the same updates one by one."""

from __future__ import annotations

import random
from typing import Any

import tablemgr as tm
from benchmarks.adapters import LmdbStore
from benchmarks.jobs import FILL_BATCH, PREPARED
from benchmarks.keys import key, value
from benchmarks.measure import Figures, Plan, Prepared, chunks, contrast

QUESTION = "atomic"
BLOCK = 10
ONE_BY_ONE = "one by one"
BLOCKS = f"in blocks of {BLOCK}"


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Measure counters and overwrites, per update; overwrites in transactions of py-lmdb as well."""
    chance = random.Random(1)
    chosen = [key(number) for number in chance.choices(range(rows), k=PREPARED)]
    pairs = [(one, value(number)) for number, one in enumerate(chosen)]
    table = tm.create(f"bench.{plan.tag}.atomic", access="public", heir="manager")
    try:
        for what, fill, ways in (
            ("update_counter", 0, counters(table, chosen)),
            ("overwrite", value(0), overwrites(table, pairs)),
        ):
            for at in range(0, rows, FILL_BATCH):
                table.insert([(key(number), fill) for number in range(at, min(rows, at + FILL_BATCH))])
            contrast(plan, figures, {"question": QUESTION, "what": what, "rows": rows}, ways)
    finally:
        table.drop()
    if not plan.wants(LmdbStore.name) or LmdbStore.missing():
        return ""
    in_lmdb(plan, figures, rows, pairs)
    return ""


def counters(table: tm.Table, chosen: list[str]) -> dict[str, Any]:
    """Add 1 to each."""
    update, atomic = table.update_counter, table.atomic

    def one_by_one(piece: Any) -> None:
        for one in piece:
            update(one, 1)

    def block(piece: Any) -> None:
        with atomic() as tx:
            for one in piece:
                tx.update_counter(one, 1)

    return both(one_by_one, block, chosen)


def overwrites(table: tm.Table, pairs: list[tuple[str, bytes]]) -> dict[str, Any]:
    """Replace each row."""
    insert, atomic = table.insert, table.atomic

    def one_by_one(piece: Any) -> None:
        for row in piece:
            insert(row)

    def block(piece: Any) -> None:
        with atomic() as tx:
            for row in piece:
                tx.insert(row)

    return both(one_by_one, block, pairs)


def both(one_by_one: Any, block: Any, items: list[Any]) -> dict[str, Any]:
    """Both ways over the same items in the same pieces."""

    def prepared(body: Any) -> Prepared:
        return body, chunks(items, BLOCK)

    return {ONE_BY_ONE: lambda: prepared(one_by_one), BLOCKS: lambda: prepared(block)}


def in_lmdb(plan: Plan, figures: Figures, rows: int, pairs: list[tuple[str, bytes]]) -> None:
    """The same overwrites, a transaction each and a transaction for each block."""
    store = LmdbStore(f"{plan.tag}.atomic")
    store.create()
    try:
        operations = store.connect()
        operations.insert_many([(store.key(key(number)), value(number)) for number in range(rows)])
        put = operations.put

        def one_by_one(piece: Any) -> None:
            for one, content in piece:
                put(one, content)

        ways = both(one_by_one, operations.insert_many, [(store.key(one), content) for one, content in pairs])
        contrast(
            plan,
            figures,
            {"question": QUESTION, "what": "overwrite", "rows": rows},
            {f"{store.name}, {way}": prepare for way, prepare in ways.items()},
        )
        operations.close()
    finally:
        store.destroy()
