# SPDX-License-Identifier: Apache-2.0
"""How long until a table has changed hands, and until a manager has a successor? What does it cost to do nothing?"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess

import tablemgr as tm
from benchmarks.measure import Figures, Plan
from tablemgr import protocol, rendezvous
from tablemgr.conversation import Connection
from tablemgr.manager.server import Server

QUESTION = "handover"
READY_SECONDS = 60.0
CLAIMS = 96
OWNERS = 12  # of twice as many tables: of one that leaves many a manager offers none
DEATHS = 20  # per round
SUCCESSOR_TABLES = 1000
CLIENT_PROCESSES = 4  # that hold the connections of an idle manager, below the limit of each


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Each part in an instance of its own; rows decides only how many tables and clients an idle manager has."""
    instance = f"{tm.Client().instance}-handover"
    tables, clients = (10_000, 1000) if rows >= 100_000 else (1000, 100)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(_drop_all, instance)
        _successor(plan, figures, instance)
        _drop_all(instance)
        with _manager(instance):
            _claims(plan, figures, instance)
            _deaths(plan, figures, instance)
        _drop_all(instance)
        _idle(plan, figures, instance, tables, clients)
    return ""


@contextlib.contextmanager
def _manager(instance: str) -> Iterator[int]:
    """A manager as a process of its own; yields its pid."""
    process = subprocess.Popen([sys.executable, "-m", "tablemgr.manager", f"--instance={instance}"])
    try:
        tm.wait_for_manager(READY_SECONDS, instance)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _drop_all(instance: str) -> None:
    for info in tm.tables(instance):
        with contextlib.suppress(tm.TableNotFoundError):
            tm.drop(info.name, force=True, instance=instance)


def _successor(plan: Plan, figures: Figures, instance: str) -> None:
    """A manager that finds so many tables: from its first instruction of its own until it would accept connections."""
    for number in range(SUCCESSOR_TABLES):
        tm.create(f"t{number}", heir="manager", instance=instance).close()
    for _ in range(plan.rounds):
        server = Server(instance)
        start = time.perf_counter_ns()
        server.open()
        figures.add(time.perf_counter_ns() - start, question=QUESTION, what="successor", store="tablemgr", rows=1000)
        server.close(exiting=True)


def _claims(plan: Plan, figures: Figures, instance: str) -> None:
    """What a dead owner left, in the hands of a process that comes for it when the manager has it.

    claim: from a table that is attached to one that is owned, the manager being told; new_table: the whole call, which
    attaches, too; by request: what is asked of the manager instead, here for a table that is the asker's already.
    """
    client = tm.Client(instance)
    for _ in range(plan.rounds):
        with contextlib.ExitStack() as owners:
            for number in range(OWNERS):
                owners.enter_context(_program(_OWNER_OF_MANY, instance, str(number)))
        while sum(info.kept for info in tm.tables(instance)) < 2 * CLAIMS:
            time.sleep(0.01)
        left = [tm.attach(f"left{number}", instance=instance) for number in range(CLAIMS)]
        names = [f"left{number}" for number in range(CLAIMS, 2 * CLAIMS)]
        ask, take = client._manager.ask, client._claims.take_offered
        asked = [protocol.Claim(table.name, table._table_id, 0.0, 0.0) for table in left]
        takes = [partial(take, table.name, table) for table in left]
        _time_each(figures, "claim", list(map(partial, repeat(ask), asked, repeat(0.0), takes)))
        _time_each(figures, "new_table", [partial(client.new_table, name) for name in names])
        _time_each(figures, "by request", [partial(ask, claim, 0.0) for claim in asked])
        _drop_all(instance)


def _time_each(figures: Figures, what: str, claims: list[Callable[[], object]]) -> None:
    """The median time of these claims, all of which succeed."""
    times, results = [], []
    for claim in claims:
        start = time.perf_counter_ns()
        results.append(claim())
        times.append(time.perf_counter_ns() - start)
    assert all(isinstance(result, (protocol.Given, tm.Table)) for result in results)
    figures.add(sorted(times)[len(times) // 2], question=QUESTION, what=what, store="tablemgr", rows=0)


def _deaths(plan: Plan, figures: Figures, instance: str) -> None:
    """SIGKILL of the owner until a standby in line has the table: both read the monotonic clock.

    Beside it, of the same deaths, when the kernel tells of them by a pidfd: it gives the memory of the dead process
    back first, page by page. So owner and standby are what workers are at least, programs that have imported this
    package, and not copies of this process.
    """
    for _ in range(plan.rounds):
        for _ in range(DEATHS):
            with _program(_OWNER, instance) as owner, _program(_STANDBY, instance) as standby:
                while not any(process.pid == standby.pid for _, process in tm.info(instance).waiting):
                    time.sleep(0.001)
                time.sleep(0.005)
                end = select.poll()
                pidfd = os.pidfd_open(owner.pid)
                end.register(pidfd, select.POLLIN)
                start = time.monotonic_ns()
                os.kill(owner.pid, signal.SIGKILL)
                end.poll()
                ended = time.monotonic_ns()
                os.close(pidfd)
                had = int(_line_from(standby))
                for what, when in (("standby", had), ("standby: the pidfd", ended)):
                    figures.add(when - start, question=QUESTION, what=what, store="tablemgr", rows=0)
            tm.drop("wanted", force=True, instance=instance)


_OWNER_OF_MANY = f"""
import signal, sys, tablemgr
numbers = range(int(sys.argv[2]), {2 * CLAIMS}, {OWNERS})
tables = [tablemgr.new_table(f"left{{number}}", instance=sys.argv[1]) for number in numbers]
print(flush=True)
signal.pause()
"""
_OWNER = """
import signal, sys, tablemgr
table = tablemgr.new_table("wanted", instance=sys.argv[1])
table.insert((1, 2))
print(flush=True)
signal.pause()
"""
_STANDBY = """
import signal, sys, time, tablemgr
print(flush=True)
table = tablemgr.new_table("wanted", wait=None, instance=sys.argv[1])
print(time.monotonic_ns(), flush=True)
assert table.inherited
signal.pause()
"""


@contextlib.contextmanager
def _program(text: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs; it has said that it got as far as its first line of output."""
    with subprocess.Popen([sys.executable, "-c", text, *arguments], stdout=subprocess.PIPE) as process:
        try:
            _line_from(process)
            yield process
        finally:
            process.kill()


def _line_from(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def _start(function: Callable[[Pipe, str], None], instance: str) -> tuple[BaseProcess, Pipe]:
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=function, args=(there, instance), daemon=True)
    process.start()
    there.close()
    return process, here


def _idle(plan: Plan, figures: Figures, instance: str, tables: int, clients: int) -> None:
    """CPU time of a manager with so many tables and clients, as a share of the time that passes."""
    for number in range(tables):
        tm.create(f"t{number}", heir="manager", instance=instance).close()
    with _manager(instance) as pid:
        holders = [_start(_hold, instance) for _ in range(CLIENT_PROCESSES)]
        try:
            for _, pipe in holders:
                pipe.send(clients // CLIENT_PROCESSES)
            for _, pipe in holders:
                pipe.recv()
            for _ in range(plan.rounds):
                start, used = time.monotonic(), _cpu_seconds(pid)
                time.sleep(max(2.0, plan.seconds * 10))
                share = (_cpu_seconds(pid) - used) / (time.monotonic() - start)
                figures.add(
                    share,
                    question=QUESTION,
                    what=f"idle, {clients} clients",
                    store="tablemgr",
                    rows=tables,
                    unit="share",
                )
        finally:
            for process, pipe in holders:
                process.kill()
                process.join()
                pipe.close()


def _hold(pipe: Pipe, instance: str) -> None:
    connections = []
    for _ in range(pipe.recv()):
        peer = rendezvous.connect(instance)
        assert peer is not None
        connections.append(Connection(peer, instance))
        connections[-1].greet(time.monotonic() + READY_SECONDS)
    pipe.send(None)
    signal.pause()


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9
