# SPDX-License-Identifier: Apache-2.0
"""How long does a death hold the next writer up? A writer is SIGKILLed in the middle of a write to a large table."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection

import tablemgr as tm
from benchmarks.keys import key, value
from benchmarks.measure import Figures, Plan

QUESTION = "repair"
KILLS = {"overwrite": 60, "list insert": 30}
LIST_ROWS = 1000
READY_SECONDS = 30.0
TRIES = 20
"""Kills per repair wanted, at most: not every kill hits a writer that holds a lock."""


def run(plan: Plan, figures: Figures, table_name: str, rows: int) -> None:
    """Kill writers until enough of them died holding a lock; the time is that of the next writer's first write."""
    chance = random.Random(5)
    with tm.attach(table_name) as table:
        calm = _calm(table, rows)
        figures.add(calm, question=QUESTION, what="no death", store="tablemgr", rows=rows)
        for what, wanted in KILLS.items():
            wanted = max(3, wanted * plan.rounds // 5)
            repaired = 0
            for _ in range(wanted * TRIES):
                numbers = [chance.randrange(rows) for _ in range(LIST_ROWS if what == "list insert" else 1)]
                before = table.info().repairs
                took = killed_and_next(table, what, numbers, chance.uniform(0.0, 0.002))
                if table.info().repairs > before:
                    repaired += 1
                    figures.add(took, question=QUESTION, what=what, store="tablemgr", rows=rows)
                    if repaired == wanted:
                        break


def _calm(table: tm.Table, rows: int) -> float:
    start = time.perf_counter_ns()
    for number in range(0, rows, max(1, rows // 1000)):
        table.insert((key(number), value(number)))
    return (time.perf_counter_ns() - start) / 1000


def killed_and_next(table: tm.Table, what: str, numbers: list[int], delay: float) -> int:
    """Kill a writer `delay` seconds after it began, wait for its end, write: nanoseconds of that write.

    The write of a list insert's successor is a list insert of the same rows: it passes every stripe that was locked."""
    here, there = multiprocessing.Pipe()
    writer = multiprocessing.get_context("fork").Process(target=_write, args=(there, table.name, what, numbers))
    writer.start()
    there.close()
    try:
        if not here.poll(READY_SECONDS):
            raise RuntimeError("the writer to be killed did not begin")
        here.recv()
        end = time.perf_counter() + delay
        while time.perf_counter() < end:
            pass
    finally:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        here.close()
    one = [(key(number), value(number)) for number in numbers]
    if what == "overwrite":
        start = time.perf_counter_ns()
        table.insert(one[0])
    else:
        start = time.perf_counter_ns()
        table.insert(one)
    return time.perf_counter_ns() - start


def _write(pipe: Connection, name: str, what: str, numbers: list[int]) -> None:
    table = tm.attach(name)
    versions = [[(key(number), value(number, version)) for number in numbers] for version in range(2)]
    pipe.send(None)
    while True:
        for rows in versions:
            if what == "overwrite":
                table.insert(rows[0])
            else:
                table.insert(rows)
