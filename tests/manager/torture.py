"""Many workers and tables, and everybody SIGKILLed at random, managers too: what test_torture runs, in its own process.

Each worker logs what it does, in a file, by one system call per entry, so the log is whole up to the worker's death.
What must hold follows from the logs: nobody's time as an owner of a table overlaps with another's, and what a worker
was told to be written is there at the end. A run is at rest when no worker lives and a manager keeps all the tables.

    python -m tests.manager.torture --workers 200 --tables 50 --seconds 60
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import tablemgr as tm
from tablemgr import Client, _ffi

from .support import eventually

ENTRY = struct.Struct("<cHIQQ")  # kind, table, incarnation of the worker, number, nanoseconds of the monotonic clock
OWNS = {None: b"n", "gift": b"g", "heir": b"h", "claim": b"c"}  # how it got the table; its number: of the transfer
WRITING, WRITTEN, PARTING = b"?", b"!", b"p"  # their number: of the write
LEFT = 7  # exit status of a worker that has had enough
KILL_SECONDS = 4.0  # between two deaths of one worker, on average
MANAGER_SECONDS = 2.0  # between two deaths of managers, on average
OWNED_MAX = 4
PATIENCE = 120.0  # seconds until what must come is given up
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent() -> None:
    """However that ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def payload(number: int) -> str:
    """Text that follows from the number of a write."""
    return f"{number}:" + "x" * (number * 7919 % 300)


def rows_of(slot: int, number: int) -> list[tuple[tuple[int, int, int], str]]:
    """What the write of that number puts into a table, all or nothing."""
    return [((slot, number, n), payload(number)) for n in range(3 if number % 4 == 0 else 1)]


class Log:
    """What one worker does, through all its lives."""

    def __init__(self, path: Path, incarnation: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._incarnation = incarnation

    def note(self, kind: bytes, table: int, number: int) -> None:
        """One entry; it is in the file when this returns."""
        os.write(self._fd, ENTRY.pack(kind, table, self._incarnation, number, time.monotonic_ns()))


class Peers:
    """The pids of the workers, by slot, where all of them can read it; 0: to be killed just now, or not there yet."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pids = memoryview(mmap.mmap(-1, 4 * count)).cast("I")

    def __setitem__(self, slot: int, pid: int) -> None:
        self._pids[slot] = pid

    def any(self, choose: random.Random) -> int:
        """The pid of one of them, or 0."""
        return self._pids[choose.randrange(self._count)]


class Life:
    """A worker from its birth to its death: it wants tables, writes into those that it has, and gives them away."""

    def __init__(self, slot: int, incarnation: int, seed: int, folder: Path, tables: int, peers: Peers) -> None:
        self.slot = slot
        self.names = [f"t{n}" for n in range(tables)]
        self.choose = random.Random(f"{seed} {slot} {incarnation}")
        self.peers = peers
        self.log = Log(folder / f"{slot}.log", incarnation)
        self.client = Client(autostart=True)
        self.owned: dict[str, tm.Table] = {}
        self.numbers = itertools.count(incarnation << 24)
        self.told: set[tuple[str, float]] = set()

    def live(self) -> NoReturn:
        """Until it is killed, or has had enough."""
        while True:
            self.read_events()
            for name in list(self.owned):
                self.write(name)
                if self.choose.random() < 0.2:
                    self.give_away(name)
            if len(self.owned) < OWNED_MAX:
                self.claim(self.choose.choice(self.names))
            if self.choose.random() < 0.01:
                os._exit(LEFT)

    def claim(self, name: str) -> None:
        """By new_table, with more or less patience."""
        wait = self.choose.choice((0.0, 0.0, 0.02, 0.5)) if self.owned else self.choose.choice((0.0, 0.1, 2.0, None))
        with contextlib.suppress(tm.TableOwnedError):
            self.own(self.client.new_table(name, wait=wait))

    def read_events(self) -> None:
        """What was given to it: it learns of that from its events only."""
        for event in self.client.events(0):
            if isinstance(event, tm.TableTransfer):
                assert (event.name, event.when) not in self.told, f"told twice: {event}"
                self.told.add((event.name, event.when))
                if event.name not in self.owned:
                    self.own(tm.attach(event.name))

    def own(self, table: tm.Table) -> None:
        """It may have been given away since it was told of: then it is not this worker's."""
        raw = table._handle.describe()
        if raw.owner != _ffi.self_process() or table.name in self.owned:
            table.close()
            return
        reason = (None, "gift", "heir", "claim")[raw.transfer_reason]
        self.log.note(OWNS[reason], self.names.index(table.name), raw.transfer_seq)
        self.owned[table.name] = table

    def write(self, name: str) -> None:
        """A few times; nobody but the owner could."""
        table, index = self.owned[name], self.names.index(name)
        for _ in range(self.choose.randrange(1, 8)):
            number = next(self.numbers)
            self.log.note(WRITING, index, number)
            table.insert(rows_of(self.slot, number))
            self.log.note(WRITTEN, index, number)

    def give_away(self, name: str) -> None:
        """To any other, which may be dead by then."""
        to = self.peers.any(self.choose)
        if to in (0, os.getpid()):
            return
        table = self.owned.pop(name)
        self.log.note(PARTING, self.names.index(name), 0)
        try:
            table.give_away(to)
            table.close()
        except LookupError:
            self.own(table)


@dataclass
class Ownership:
    """The time in which a worker knew that it owned a table."""

    begun: int
    ended: int
    transfer: int
    holder: tuple[int, int]  # slot and incarnation


@dataclass
class History:
    """What the logs say of one table."""

    ownerships: list[Ownership] = field(default_factory=list)
    written: set[tuple[int, int]] = field(default_factory=set)  # slot and number
    begun: set[tuple[int, int]] = field(default_factory=set)
    how: Counter[str] = field(default_factory=Counter)

    def problems(self, name: str) -> list[str]:
        """Two owners at one time, or two of one transfer."""
        found = []
        order = sorted(self.ownerships, key=lambda it: (it.begun, it.transfer))
        for before, after in itertools.pairwise(order):
            if after.begun <= before.ended or after.transfer < before.transfer:
                found.append(f"table {name}: {before} and {after}")
            if after.transfer == before.transfer and after.holder != before.holder:
                found.append(f"table {name}, one transfer to two owners: {before} and {after}")
        return found

    def wrong_rows(self, name: str, table: tm.Table) -> list[str]:
        """What is missing or too much in the table."""
        rows: dict[Any, Any] = dict(table)
        found = []
        for slot, number in sorted(self.begun):
            there = sum(rows.pop(key, None) == value for key, value in rows_of(slot, number))
            whole = len(rows_of(slot, number))
            if there != whole and ((slot, number) in self.written or there != 0):
                found.append(f"table {name}: {there} of {whole} rows of write {number} of worker {slot}")
        return found + [f"table {name}: row {key} that nobody wrote" for key in rows]


def read_logs(folder: Path, tables: int) -> list[History]:
    """The history of each table."""
    histories = [History() for _ in range(tables)]
    reasons = {mark: str(reason) for reason, mark in OWNS.items()}
    for path in folder.glob("*.log"):
        slot = int(path.stem)
        current: dict[tuple[int, int], Ownership] = {}
        for kind, table, incarnation, number, when in ENTRY.iter_unpack(path.read_bytes()):
            history = histories[table]
            if kind in reasons:
                ownership = Ownership(when, when, number, (slot, incarnation))
                current[incarnation, table] = ownership
                history.ownerships.append(ownership)
                history.how[reasons[kind]] += 1
            else:
                current[incarnation, table].ended = when
                if kind == WRITING:
                    history.begun.add((slot, number))
                elif kind == WRITTEN:
                    history.written.add((slot, number))
    return histories


class Torture:
    """The process that starts, kills and counts all the others."""

    def __init__(self, workers: int, tables: int, seed: int, folder: Path) -> None:
        self.workers, self.tables, self.seed, self.folder = workers, tables, seed, folder
        self.choose = random.Random(seed)
        self.peers = Peers(workers)
        self.client = Client(autostart=True)
        self.slots: dict[int, int] = {}  # of a pid
        self.incarnations: Counter[int] = Counter()
        self.deaths: Counter[str] = Counter()
        self.problems: list[str] = []

    # -- processes --------------------------------------------------------------------------------------------------

    def start_worker(self, slot: int) -> None:
        """In a fork of this process."""
        self.incarnations[slot] += 1
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                die_with_parent()
                life = Life(slot, self.incarnations[slot], self.seed, self.folder, self.tables, self.peers)
                life.live()
            except BaseException:
                (self.folder / f"{slot}.{self.incarnations[slot]}.error").write_text(traceback.format_exc())
            finally:
                os._exit(status)
        self.slots[pid] = slot
        self.peers[slot] = pid

    def start_missing(self) -> None:
        """Each slot has a worker."""
        for slot in set(range(self.workers)) - set(self.slots.values()):
            self.start_worker(slot)

    def kill_worker(self, pid: int) -> None:
        """Without a word."""
        self.peers[self.slots[pid]] = 0  # nobody gives it anything, nor to a later process of this pid
        os.kill(pid, signal.SIGKILL)
        self.deaths["workers killed"] += 1

    def kill_manager(self) -> None:
        """Whoever serves at this moment, if anybody does."""
        with contextlib.suppress(tm.TableError, ProcessLookupError):
            manager = self.client.info().manager
            if manager is not None:
                os.kill(manager.pid, signal.SIGKILL)
                self.deaths["managers killed"] += 1

    def reap(self) -> None:
        """Those that have ended, and what killed workers have left, which is this process's by then."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self.note_end(*ended)

    def note_end(self, pid: int, status: int) -> None:
        """A worker ends as it should, or that is a problem; of others it does not matter how."""
        slot = self.slots.pop(pid, None)
        if slot is None:
            return
        self.peers[slot] = 0
        code = os.waitstatus_to_exitcode(status)
        if code == LEFT:
            self.deaths["workers that left"] += 1
        elif code != -signal.SIGKILL:
            self.problems.append(f"worker {slot} ended with {code}")

    # -- phases -----------------------------------------------------------------------------------------------------

    def storm(self, seconds: float, manager_too: bool) -> None:
        """Kill at random for that long, and until a manager was killed if one is to be."""
        next_manager = time.monotonic() + self.choose.expovariate(1 / MANAGER_SECONDS)
        end = time.monotonic() + seconds
        while time.monotonic() < end or (manager_too and not self.deaths["managers killed"]):
            self.reap()
            self.start_missing()
            time.sleep(self.choose.expovariate(self.workers / KILL_SECONDS))  # the pace; nothing waits for anything
            for pid in self.choose.sample(list(self.slots), min(len(self.slots), self.choose.choice((1, 1, 1, 2, 5)))):
                self.kill_worker(pid)
            if manager_too and time.monotonic() >= next_manager:
                self.kill_manager()
                next_manager = time.monotonic() + self.choose.expovariate(1 / MANAGER_SECONDS)

    def owners(self) -> list[int]:
        """The pids of the owners that are alive."""
        infos = tm.tables()
        return [info.owner.pid for info in infos if info.owner is not None and info.owner.alive]

    def all_claimed(self) -> bool:
        """Whether each table is a live worker's."""
        self.reap()
        self.start_missing()
        return len([pid for pid in self.owners() if pid in self.slots]) == self.tables

    def all_dead(self) -> bool:
        """Whether no worker is left."""
        self.reap()
        return not self.slots

    def is_alone(self) -> bool:
        """Whether no process is left of all that were started here, not even one to be waited for."""
        self.reap()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    def rest(self) -> int:
        """Kill all workers at once; returns the manager's pid when it keeps all tables and has no other clients."""
        for pid in list(self.slots):
            self.kill_worker(pid)
        wait_until(self.all_dead)
        self.client.new_table("awake").drop()  # which starts a manager if none runs
        manager = self.client.info().manager
        assert manager is not None
        wait_until(lambda: self.owners() == [manager.pid] * self.tables)
        for _ in range(2):  # when it answers the second time, it has closed all that was readable at the first
            self.client.info()
        return manager.pid


def wait_until(condition: Callable[[], bool]) -> None:
    """Whatever the machine's load."""
    eventually(condition, PATIENCE)


def use_of(pid: int) -> dict[str, int]:
    """What a process at rest takes: descriptors, and memory that it shares with nobody."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "KiB": int(fields["RssAnon"].split()[0])}


def run(torture: Torture, seconds: float) -> dict[str, Any]:
    """The storm, and a shorter one that the manager survives; figures, and under "problems" what must not be."""
    torture.start_missing()
    torture.storm(seconds, manager_too=True)
    wait_until(torture.all_claimed)
    torture.rest()
    torture.start_missing()
    torture.storm(seconds / 4, manager_too=False)  # so that the manager has seen everything once
    manager = torture.rest()
    before, killed = use_of(manager), torture.deaths["workers killed"]
    torture.start_missing()
    torture.storm(seconds / 2, manager_too=False)
    if torture.rest() != manager:
        torture.problems.append("the manager that nobody killed is another one")
    return {
        "manager before": before,
        "manager after": use_of(manager),
        "workers killed between": torture.deaths["workers killed"] - killed,
    }


def judge(torture: Torture) -> dict[str, Any]:
    """What the logs and the tables say at the end; drops the tables."""
    ownerships: Counter[str] = Counter()
    written = 0
    for index, history in enumerate(read_logs(torture.folder, torture.tables)):
        name = f"t{index}"
        ownerships += history.how
        written += len(history.written)
        torture.problems += history.problems(name)
        with torture.client.new_table(name) as table:
            if not table.inherited:
                torture.problems.append(f"table {name} is new")
            torture.problems += history.wrong_rows(name, table)
            torture.problems += [f"table {name}: {problem}" for problem in table.check()]
            table.drop()
    return {"ownerships": dict(ownerships), "acknowledged writes": written}


def finish(torture: Torture) -> None:
    """No process is left."""
    torture.client.stop_manager()
    torture.client.close()
    wait_until(torture.is_alone)
    torture.problems += [f"{path.name}: {path.read_text()}" for path in torture.folder.glob("*.error")]


def main() -> None:
    """As the module's docstring says; prints the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--tables", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=20_000)
    options = parser.parse_args()
    os.environ.setdefault("TABLEMGR_INSTANCE", f"torture-{uuid.uuid4().hex[:12]}")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that no process is left without being seen
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(options.workers, options.tables, options.seed, Path(folder))
        begun = time.monotonic()
        figures = {**run(torture, options.seconds), **judge(torture)}
        finish(torture)
    figures |= {"seconds": round(time.monotonic() - begun, 1), **torture.deaths, "problems": torture.problems[:50]}
    print(json.dumps(figures))
    sys.exit(1 if figures["problems"] else 0)


if __name__ == "__main__":
    main()
