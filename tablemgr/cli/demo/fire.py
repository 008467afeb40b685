# SPDX-License-Identifier: Apache-2.0
"""Workers under a supervisor, and somebody who kills them and the manager while they work.

Kills are paced by progress: kill j is due when its share of the files is done, and no worker goes far beyond that share
before the kill was made (the gate). So all kills happen while work is left, on any tree and any machine."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tablemgr import client, table
from tablemgr.cli.demo import work
from tablemgr.cli.demo.screen import Screen
from tablemgr.errors import ManagerUnavailableError, TableError
from tablemgr.manager import Manager
from tablemgr.supervisor.child import Child
from tablemgr.supervisor.events import ChildExited, ChildStarted
from tablemgr.supervisor.supervisor import Supervisor

MANAGER = "manager"
MANAGER_KILLS = 2
TICK_SECONDS = 0.01
RESTART_WINDOW_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill that was made good; `seconds` from the signal until the successor was there."""

    who: str
    pid: int
    successor: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Pending:
    who: str
    pid: int
    at: float


def serve(instance: str) -> None:
    """The manager's process."""
    Manager(instance).serve_forever()


class Fire:
    """One run of the work under fire. `beat` is called whenever something has moved: for the watchdog; `interrupted` in
    every turn: it raises KeyboardInterrupt if the user wants an end."""

    def __init__(
        self,
        instance: str,
        files: Sequence[Path],
        n_workers: int,
        n_kills: int,
        seed: int,
        screen: Screen,
        beat: Callable[[], None],
        interrupted: Callable[[], None],
    ) -> None:
        self.instance = instance
        self.files = files
        self.kills: list[Kill] = []
        self.seconds = 0.0
        self.problems: list[str] = []
        self._screen = screen
        self._beat = beat
        self._interrupted = interrupted
        self._chance = random.Random(seed)
        self._workers = [f"worker-{number}" for number in range(n_workers)]
        self._victims = [""] * n_kills  # any worker
        for number in range(MANAGER_KILLS):
            self._victims.insert((number + 1) * len(self._victims) // (MANAGER_KILLS + 1), MANAGER)
        total = len(self._victims)
        self._due = [len(files) * (j + 1) // (total + 2) for j in range(total)]
        self._made = 0
        self._pending: list[_Pending] = []
        self._present: dict[str, int] = {}
        self._ended: set[str] = set()
        self._journals: dict[str, table.Table] = {}
        self._client = client.Client(instance, autostart=False)
        children = [Child(MANAGER, serve, args=(instance,))] + [
            Child(
                name,
                work.work,
                args=(instance, name, files),
                restart="transient",
            )
            for name in self._workers
        ]
        self.supervisor = Supervisor(
            children, max_restarts=100 + 2 * total, max_seconds=RESTART_WINDOW_SECONDS, instance=instance
        )

    @property
    def gate(self) -> int:
        """The number of files that may be taken for now: beyond the next kill's share no more than keeps all busy."""
        if self._made == len(self._due):
            return len(self.files)
        return max(1, min(len(self.files) - 1, self._due[self._made] + 2 * len(self._workers)))

    def run(self, shared: table.Table) -> None:
        """Work until every file is done and every worker has ended; `problems` says what went wrong."""
        done = 0
        start = time.monotonic()
        while len(self._ended) < len(self._workers):
            self._attend()
            if self.problems:
                return
            now_done = shared.lookup_element(work.DONE, 1)
            if now_done != done:
                done = now_done
                self._beat()
                self._screen.progress(done)
            self._see_successors()
            if self._made < len(self._due) and done >= self._due[self._made] and self._kill_one():
                shared.insert((work.GATE, self.gate))
                self._beat()
        self.seconds = time.monotonic() - start
        while self._pending and not self.problems:
            self._attend()
            self._see_successors()

    def _attend(self) -> None:
        """Let the supervisor do its work for a moment, and note who started and who ended."""
        self._interrupted()
        until = time.monotonic() + TICK_SECONDS
        for event in self.supervisor.events(TICK_SECONDS):
            if isinstance(event, ChildStarted):
                self._present[event.name] = event.process.pid
            elif isinstance(event, ChildExited) and event.exit == 0:
                self._ended.add(event.name)
            elif isinstance(event, ChildExited) and event.exit != -signal.SIGKILL:
                self.problems.append(f"{event.name} (pid {event.process.pid}) ended with exit code {event.exit}")
            if self.problems or time.monotonic() > until:
                return

    def _kill_one(self) -> bool:
        """Kill the next victim, if one is at work that is not being replaced already."""
        victim = self._victims[self._made]
        busy = {pending.who for pending in self._pending}
        if victim == MANAGER:
            candidates = [] if MANAGER in busy else [MANAGER]
        else:
            alive = self.supervisor.processes().keys() - busy
            candidates = [name for name in self._workers if name in alive and self._ready_at(name) is not None]
        if not candidates:
            return False
        who = self._chance.choice(candidates)
        pid = self.supervisor.processes()[who].pid
        self._pending.append(_Pending(who, pid, time.monotonic()))
        os.kill(pid, signal.SIGKILL)
        self._made += 1
        return True

    def _see_successors(self) -> None:
        for pending in list(self._pending):
            pid = self._present.get(pending.who, pending.pid)
            if pid == pending.pid:
                continue
            at = self._manager_at(pid) if pending.who == MANAGER else self._ready_at(pending.who)
            if at is None:
                continue
            self._pending.remove(pending)
            kill = Kill(pending.who, pending.pid, pid, at - pending.at)
            self.kills.append(kill)
            what = "served again" if pending.who == MANAGER else "had its tables"
            self._screen.kill(len(self.kills), kill.who, kill.pid, kill.successor, kill.seconds, what)
            self._beat()

    def _ready_at(self, name: str) -> float | None:
        """When the worker's present process had its tables, by its own entry in its own table; None: not yet."""
        pid = self._present.get(name)
        try:
            if name not in self._journals:
                self._journals[name] = table.attach(name, instance=self.instance)
            rows = self._journals[name].lookup(work.READY)
        except TableError:
            return None  # its first process has not made it yet
        return float(rows[0][2]) if rows and rows[0][1] == pid else None

    def _manager_at(self, pid: int) -> float | None:
        try:
            manager = self._client.info().manager
        except ManagerUnavailableError:
            return None
        return time.monotonic() if manager is not None and manager.pid == pid else None

    def close(self) -> None:
        """Let go of what this process has attached."""
        for journal in self._journals.values():
            journal.close()
        self._client.close()
