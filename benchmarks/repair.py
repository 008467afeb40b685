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
KILLS = {"overwrite": 60, "list insert": 60}
LIST_ROWS = 1000
READY_SECONDS = 30.0
TRIES = 20
"""Kills per repair wanted, at most: not every kill hits a writer that holds a lock."""


def run(plan: Plan, figures: Figures, table_name: str, rows: int) -> None:
    """Kill writers until enough of them died holding a lock; measured is the next write, of one row there.

    Beside the time as it passed the CPU time is kept: on a busy machine the former is longer."""
    chance = random.Random(5)
    with tm.attach(table_name) as table:
        for _ in range(plan.rounds * 20):
            _record(figures, "no death", rows, next_write(table, chance.randrange(rows)))
        for what, kills in KILLS.items():
            wanted = max(3, kills * plan.rounds // 5)
            repaired = 0
            for _ in range(wanted * TRIES):
                numbers = [chance.randrange(rows) for _ in range(LIST_ROWS if what == "list insert" else 1)]
                before = table.info().repairs
                kill_a_writer(table, numbers, chance.uniform(0.0, 0.002))
                took = next_write(table, numbers[0])
                if table.info().repairs > before:
                    repaired += 1
                    _record(figures, what, rows, took)
                    if repaired == wanted:
                        break


def _record(figures: Figures, what: str, rows: int, took: tuple[int, int]) -> None:
    for clock, ns in zip(("passed", "CPU"), took, strict=True):
        figures.add(ns, question=QUESTION, what=f"{what}, {clock}", store="tablemgr", rows=rows)


def next_write(table: tm.Table, number: int) -> tuple[int, int]:
    """Write a row: nanoseconds that passed, and of CPU time."""
    row = (key(number), value(number))
    cpu = time.thread_time_ns()
    start = time.perf_counter_ns()
    table.insert(row)
    return time.perf_counter_ns() - start, time.thread_time_ns() - cpu


def kill_a_writer(table: tm.Table, numbers: list[int], delay: float) -> None:
    """Let a process write these rows over and over again, kill it after `delay` seconds, and wait for its end."""
    here, there = multiprocessing.Pipe()
    writer = multiprocessing.get_context("fork").Process(target=_write, args=(there, table.name, numbers))
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


def _write(pipe: Connection, name: str, numbers: list[int]) -> None:
    table = tm.attach(name)
    versions = [[(key(number), value(number, version)) for number in numbers] for version in range(2)]
    pipe.send(None)
    while True:
        for rows in versions:
            if len(rows) == 1:
                table.insert(rows[0])
            else:
                table.insert(rows)
