# SPDX-License-Identifier: Apache-2.0
"""How long does the longest insert take while a table grows from nothing? Every insert timed by itself.

A table that grows takes memory, of which some pages take the system ten times as long as others. So beside it the same
rows are appended to private memory, with no table and no file: what is slow there is slow in any table.
"""

from __future__ import annotations

import gc
import mmap
import random
import time
from collections.abc import Callable

import tablemgr as tm
from benchmarks.keys import key, value
from benchmarks.measure import Figures, Plan, percentile

QUESTION = "growth"
SHARES = (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999))


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Grow a table from 0 to `rows` rows in random key order, and beside it run the same loop around less."""
    numbers = list(range(rows))
    random.Random(3).shuffle(numbers)
    pairs = [(key(number), value(number)) for number in numbers]
    name = f"bench.{plan.tag}.growth"
    for _ in range(plan.rounds):
        shared: tm.SharedDict[str, bytes] = tm.SharedDict(name)
        try:
            _record(figures, "tablemgr", rows, one_by_one(shared.__setitem__, pairs))
        finally:
            shared.table.close()
            tm.drop(name, force=True)
        with fresh_memory(sum(len(one) + len(content) for one, content in pairs)) as memory:
            _record(figures, "fresh memory", rows, one_by_one(appending(memory), pairs))
        _record(figures, "empty loop", rows, one_by_one(nothing, pairs))
    return ""


def nothing(key: str, value: bytes) -> None:
    """What the machine does to a loop that does nothing."""


def fresh_memory(n_bytes: int) -> mmap.mmap:
    """Private memory of which no page was touched, in pages of the size that shared memory has."""
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def appending(memory: mmap.mmap) -> Callable[[str, bytes], object]:
    """What puts a row behind the one before."""
    write = memory.write
    return lambda key, value: (write(key.encode()), write(value))


def one_by_one(put: Callable[[str, bytes], object], pairs: list[tuple[str, bytes]]) -> list[int]:
    """Nanoseconds of every single call, sorted."""
    clock = time.perf_counter_ns
    times = [0] * len(pairs)
    gc.disable()
    try:
        for position, (one, content) in enumerate(pairs):
            start = clock()
            put(one, content)
            times[position] = clock() - start
    finally:
        gc.enable()
    times.sort()
    return times


def _record(figures: Figures, store: str, rows: int, times: list[int]) -> None:
    for what, share in SHARES:
        figures.add(percentile(times, share), question=QUESTION, what=what, store=store, rows=rows)
    figures.add(times[-1], question=QUESTION, what="longest", store=store, rows=rows)
