# SPDX-License-Identifier: Apache-2.0
"""The stores of a run: which can be measured here, made and filled together, destroyed whatever happens."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence

import tablemgr as tm
from benchmarks import jobs
from benchmarks.adapters import STORES, Store
from benchmarks.crew import Crew, Load
from benchmarks.keys import key, value
from benchmarks.measure import Plan

FILL_SECONDS = 3600.0


Kinds = Sequence[type[Store]]


def available(plan: Plan, kinds: Kinds = STORES) -> tuple[list[type[Store]], list[str]]:
    """The kinds of store to measure, and a line for each that is left out because something is not installed."""
    wanted = [kind for kind in kinds if plan.wants(kind.name)]
    return [kind for kind in wanted if not kind.missing()], [
        f"{kind.name}: skipped, {kind.missing()}" for kind in wanted if kind.missing()
    ]


@contextlib.contextmanager
def filled(plan: Plan, crew: Crew, rows: int, kinds: Kinds = STORES) -> Iterator[list[Store]]:
    """One store of each of these kinds, with `rows` rows, filled by the crew's first member."""
    tag = f"{plan.tag}.{rows}"
    stores = [kind(tag) for kind in available(plan, kinds)[0]]  # type: ignore[call-arg]  # every dataclass takes its tag
    with contextlib.ExitStack() as stack:
        for store in stores:
            store.create()
            stack.callback(store.destroy)
        stack.callback(crew.release)
        for store in stores:
            crew.run(store, jobs.fill, Load(rows), 1, FILL_SECONDS)
        yield stores


@contextlib.contextmanager
def large_table(plan: Plan) -> Iterator[str]:
    """The name of a table with the plan's large number of rows, written one by one in random key order."""
    name = f"bench.{plan.tag}.large"
    shared: tm.SharedDict[str, bytes] = tm.SharedDict(name)
    try:
        numbers = list(range(plan.large_rows))
        random.Random(2).shuffle(numbers)
        for number in numbers:
            shared[key(number)] = value(number)
        shared.table.close()
        yield name
    finally:
        tm.drop(name, force=True)
