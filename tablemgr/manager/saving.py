# SPDX-License-Identifier: Apache-2.0
"""Tables that are kept in files: loaded at the manager's start, saved now and then and at its end.

Shared memory survives every process and no reboot; this is for the tables that must survive that as well. A file is
replaced in one step (`files`), so SIGKILL in the middle of a save leaves the one before. What fails is logged, and
tried again at the next turn; a file that could not be loaded is put aside, so that no save replaces it.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from urllib.parse import quote, unquote

from tablemgr import _ffi, files, rendezvous, segment_names, segments, table as tables
from tablemgr.errors import TableError, TableNotFoundError
from tablemgr.manager import loading
from tablemgr.manager.journal import Event, Journal

ENDING = ".table"  # of files in the directory
_TROUBLE = (TableError, OSError, ValueError, MemoryError)


@dataclass(frozen=True, slots=True)
class Item:
    """One table and its file. seconds: between two saves, from the end of one to the start of the next."""

    name: str
    path: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Saving:
    """Which tables are kept in files: those of `items`, and in `directory` those whose names fit a pattern.

    directory: None, or where a table NAME has the file NAME.table, its name percent-encoded; patterns are a shell's
    (`*`, `?`, `[...]`); seconds as in `Item`, for those.
    """

    items: tuple[Item, ...] = ()
    directory: str | None = None
    patterns: tuple[str, ...] = ("*",)
    seconds: float = 60.0

    def wanted(self, names: list[str]) -> list[Item]:
        """Of these tables, those that are kept, with their files; an item of its own goes before a pattern."""
        own = {item.name: item for item in self.items}
        found = []
        for name in names:
            if name in own:
                found.append(own[name])
            elif self._fits(name):
                found.append(Item(name, os.path.join(self.directory or "", file_name(name)), self.seconds))
        return found

    def loadable(self) -> list[Item]:
        """The files that are there. Raises OSError if the directory cannot be read."""
        names = {item.name for item in self.items}
        if self.directory is not None:
            for entry in sorted(os.listdir(self.directory)):
                if entry.endswith(ENDING):
                    names.add(unquote(entry.removesuffix(ENDING)))
        return [item for item in self.wanted(sorted(names)) if os.path.lexists(item.path)]

    def _fits(self, name: str) -> bool:
        return self.directory is not None and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


def file_name(name: str) -> str:
    """The file of a table in the directory; like its segment's name, so it is never too long for a file system."""
    return quote(name, safe="").replace(".", "%2E") + ENDING


class Keeper:
    """Keeps the tables of one instance in their files. `load` once, `run` beside the server, `save_all` at the end."""

    def __init__(self, instance: str, saving: Saving) -> None:
        self._instance = instance
        self._saving = saving
        self._one_at_a_time = threading.Lock()  # of two saves of a table, the later one has the last word
        self._untouchable: set[str] = set()  # files that could be neither loaded nor put aside
        self._failing: dict[str, str] = {}  # path: why, as logged already

    def load(self, journal: Journal) -> None:
        """Make a table of each file whose table is not there; waits until all are. Never raises.

        What is there is newer than its file: only the manager was away. The tables are made by a process of its own, so
        that they are, when it has ended, what they were before the reboot: orphans that wait for who claims them.
        """
        try:
            left = self._saving.loadable()
        except OSError as error:
            journal.note(Event.LOAD_FAILED, logging.ERROR, path=self._saving.directory, reason=str(error))
            return
        while left:
            left = self._load_some(left, journal)

    async def run(self, journal: Journal) -> None:
        """Save each table when its time has come, until cancelled."""
        due: dict[str, float] = {}
        seconds = [item.seconds for item in self._saving.items]
        if self._saving.directory is not None:
            seconds.append(self._saving.seconds)
        if not seconds:
            return
        started = time.monotonic()
        while True:
            try:
                items = await asyncio.to_thread(self._wanted)
            except OSError as error:  # of a moment, as where there are no descriptors
                journal.note(Event.SAVE_FAILED, logging.WARNING, reason=str(error))
                await asyncio.sleep(min(1.0, *seconds))
                continue
            due = {item.name: due[item.name] for item in items if item.name in due}
            now = time.monotonic()
            for item in items:
                if due.setdefault(item.name, started + item.seconds) <= now:
                    await asyncio.to_thread(self._save, item, journal)
                    due[item.name] = time.monotonic() + item.seconds
            soonest = min((due[item.name] for item in items), default=math.inf)
            await asyncio.sleep(max(0.0, min(soonest - time.monotonic(), *seconds, math.inf)))

    async def save_all(self, journal: Journal) -> None:
        """Save every table that is kept, now."""
        for item in await asyncio.to_thread(self._wanted):
            await asyncio.to_thread(self._save, item, journal)

    def _wanted(self) -> list[Item]:
        return self._saving.wanted([name for name, _ in segment_names.scan(self._instance)])

    # -- in -----------------------------------------------------------------------------------------------------------

    def _load_some(self, items: list[Item], journal: Journal) -> list[Item]:
        """Load in one process, as far as that gets; returns the items that are left for another one."""
        told = json.dumps([[item.name, item.path] for item in items])
        command = [sys.executable, "-m", "tablemgr.manager.loading", self._instance]
        try:
            run = subprocess.run(
                command, input=told.encode(), stdout=subprocess.PIPE, cwd="/", env=rendezvous.package_env(), check=False
            )
        except OSError as error:
            for item in items:
                self._refused(item, str(error), journal)
            return []
        done = [loading.Outcome(**json.loads(line)) for line in run.stdout.splitlines()]
        for item, outcome in zip(items, done, strict=False):
            if outcome.reason is not None:
                self._refused(item, outcome.reason, journal)
            elif outcome.rows is not None:
                journal.note(Event.LOADED, table=item.name, path=item.path, rows=outcome.rows)
        left = items[len(done) :]
        if left:
            self._refused(left[0], f"the process that loaded it ended with {run.returncode}", journal)
        return left[1:]

    def _refused(self, item: Item, reason: str, journal: Journal) -> None:
        """Put a file that is no table out of the way of the saves to come."""
        aside = f"{item.path}.refused-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        try:
            os.rename(item.path, aside)
        except OSError as error:
            self._untouchable.add(item.path)
            aside = f"nowhere ({error.strerror}): it stays, and its table is not saved"
        journal.note(Event.LOAD_FAILED, logging.ERROR, table=item.name, path=item.path, reason=reason, put_aside=aside)

    # -- out ----------------------------------------------------------------------------------------------------------

    def _save(self, item: Item, journal: Journal) -> None:
        """Never raises: a table that cannot be saved now may be at the next turn."""
        if item.path in self._untouchable:
            return
        begun = time.monotonic()
        try:
            with self._one_at_a_time:
                rows = self._save_now(item)
        except TableNotFoundError:
            return  # dropped, or renamed: the file stays what it was
        except _TROUBLE as error:
            reason = str(error)
            level = logging.DEBUG if self._failing.get(item.path) == reason else logging.WARNING
            self._failing[item.path] = reason
            journal.note(Event.SAVE_FAILED, level, table=item.name, path=item.path, reason=reason)
            return
        if rows is not None:
            self._failing.pop(item.path, None)
            seconds = time.monotonic() - begun
            journal.note(Event.SAVED, table=item.name, path=item.path, rows=rows, seconds=seconds)

    def _save_now(self, item: Item) -> int | None:
        """The rows written; None for a table that only fits a pattern and is not for others to keep."""
        handle = segments.attach(self._instance, item.name, _ffi.MAP_READ)
        try:
            info = segments.describe(handle)
        finally:
            handle.close()
        by_pattern = item not in self._saving.items
        if by_pattern and (info.heir is None or info.access == "private" or info.uid != os.geteuid()):
            return None
        with tables.attach(item.name, readonly=True, codec=info.codec, instance=self._instance) as table:
            return files.save(table, item.path)
