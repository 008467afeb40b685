# SPDX-License-Identifier: Apache-2.0
"""From SIGKILL of a supervised worker to its successor with the table in hand: is it more than a process's start?"""

from __future__ import annotations

import compileall
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection

import tablemgr as tm
from benchmarks.keys import key, value
from benchmarks.measure import Figures, Plan

QUESTION = "respawn"
METHODS = ("spawn", "fork")
KILLS = 8
"""Per round and start method."""
BARE = "bare process"
READY_SECONDS = 60.0


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Kill and start in turns; a figure is the median of one round."""
    name = f"bench.{plan.tag}.respawn"
    # An installed package comes compiled; in a checkout, what is imported late would be compiled at each start.
    compileall.compile_dir(os.path.dirname(tm.__file__), quiet=1)
    try:
        for method in METHODS:
            _measure(plan, figures, method, name, rows)
        tm.drop(name, force=True)
    finally:
        tm.Client().stop_manager()  # started on demand by the first worker
    return ""


def _measure(plan: Plan, figures: Figures, method: str, name: str, rows: int) -> None:
    context = multiprocessing.get_context(method)
    receive, send = context.Pipe(duplex=False)
    child = tm.Child("worker", _work, (send, name), tables={name: {"access": "public"}})
    kills = plan.rounds * KILLS
    with tm.Supervisor([child], max_restarts=kills, max_seconds=3600, context=context) as supervisor:
        _answer(receive)
        with tm.attach(name) as table:
            table.insert([(key(number), value(number)) for number in range(rows)])
        for _ in range(plan.rounds):
            times: dict[str, list[float]] = {tm.__name__: [], BARE: []}
            for _ in range(KILLS):
                start = time.monotonic()
                os.kill(supervisor.processes()["worker"].pid, signal.SIGKILL)
                next(event for event in supervisor.events() if isinstance(event, tm.ChildStarted) and event.restarts)
                in_hand, found = _answer(receive)
                if found != rows:
                    raise RuntimeError(f"{found} rows came back, and not {rows}")
                times[tm.__name__].append(in_hand - start)
                times[BARE].append(_bare_start(context, receive, send))
            for store, seconds in times.items():
                median = sorted(seconds)[len(seconds) // 2]
                figures.add(median * 1e9, question=QUESTION, what=method, store=store, rows=rows)
    receive.close()
    send.close()


def _bare_start(context: multiprocessing.context.BaseContext, receive: Connection, send: Connection) -> float:
    """Seconds until a process that only imports what the worker imports runs its target."""
    start = time.monotonic()
    process = context.Process(target=_run, args=(send,))  # type: ignore[attr-defined]  # every real context has it
    process.start()
    running, _ = _answer(receive)
    process.join()
    process.close()
    return running - start


def _answer(receive: Connection) -> tuple[float, int]:
    if not receive.poll(READY_SECONDS):
        raise RuntimeError("a process to be measured did not begin")
    when, rows = receive.recv()
    return float(when), int(rows)


def _work(send: Connection, name: str, tables: dict[str, tm.Table]) -> None:
    """The worker: what time it is, and how many rows it has found."""
    when = time.monotonic()
    send.send((when, len(tables[name])))
    while True:
        signal.pause()


def _run(send: Connection) -> None:
    """The other process."""
    send.send((time.monotonic(), 0))
