# SPDX-License-Identifier: Apache-2.0
"""Names that processes of an instance give themselves, for whoever wants to give them a table or make them an heir.

They stand in one file of the directory where clients and manager meet, with the identity of the process, so a name is
gone with its process, whatever ends that, and no manager is needed to give or to find one. The file is replaced whole
by rename, under a lock: killed at any moment, a change has happened or has not.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tablemgr import _ffi, rendezvous
from tablemgr.errors import LockTimeoutError

NAME_MAX: Final = 255  # characters
RESERVED: Final = frozenset({"manager"})  # an heir of this name is the manager
_LOCK_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.001


class _Entry(NamedTuple):
    """A name and whose it is. world: the pid and time namespaces in which pid and start mean something."""

    name: str
    pid: int
    start: int
    world: str

    def is_dead(self, here: str) -> bool:
        """Whether the process has ended; of another world nobody can say."""
        return self.world == here and not _ffi.process_alive(self.pid, self.start)


def register(instance: str, name: str) -> None:
    """Give this process a name in the instance, beside those that it has.

    Raises ValueError if a live process has the name or it is none, TypeError, LockTimeoutError, and
    ManagerUnavailableError if the directory cannot be used. Of any number of processes that ask at once one gets it.
    """
    _check(name)
    pid, start = _ffi.self_process()
    with _changing(instance) as entries:
        for entry in entries:
            if entry.name == name and entry.world == world() and (entry.pid, entry.start) != (pid, start):
                raise ValueError(
                    f"the name {name!r} belongs to process {entry.pid}, which is alive: choose another, or end it first"
                )
        mine = _Entry(name, pid, start, world())
        if mine not in entries:
            entries.append(mine)
    _registered.add((instance, pid))


def whereis(instance: str, name: str) -> tuple[int, int] | None:
    """(pid, start) of the live process that has the name; None if there is none."""
    _check(name, reserved=())
    here = world()
    for entry in _read(instance):
        if entry.name == name and entry.world == here and not entry.is_dead(here):
            return entry.pid, entry.start
    return None


def version(instance: str) -> object:
    """Equal as long as no name was given or taken away; a look at it is much cheaper than one at the names."""
    try:
        with rendezvous.directory() as path:
            info = os.stat(_file(path, instance))
    except FileNotFoundError:
        return None
    return info.st_ino, info.st_mtime_ns


def tidy(instance: str) -> None:
    """Take the names of dead processes out of the file, and the file away if none is left."""
    if _read(instance):
        with _changing(instance):
            pass


def _check(name: str, reserved: frozenset[str] | tuple[()] = RESERVED) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a process is a str, not {name.__class__.__name__}")
    if not 0 < len(name) <= NAME_MAX or "\0" in name:
        raise ValueError(f"the name of a process has 1 to {NAME_MAX} characters and no NUL, not like {name[:40]!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name {name[:40]!a} has a lone surrogate in it, which is no text") from None
    if name in reserved:
        raise ValueError(f"{name!r} as an heir means the manager; choose another name")


def _file(directory: str, instance: str) -> str:
    return f"{directory}/{rendezvous.file_name(instance, 'names')}"


def world() -> str:
    """The pid and time namespaces of this process; 0 for what the kernel has not."""
    return ":".join(str(_inode(f"/proc/self/ns/{kind}")) for kind in ("pid", "time"))


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _read(instance: str) -> list[_Entry]:
    try:
        with rendezvous.directory() as path:
            text = Path(_file(path, instance)).read_text()
    except FileNotFoundError:
        return []
    try:
        return [_Entry(str(name), int(pid), int(start), str(world)) for name, pid, start, world in json.loads(text)]
    except (ValueError, TypeError):
        return []  # not written by this module: as good as none


@contextmanager
def _changing(instance: str) -> Iterator[list[_Entry]]:
    """The entries of the living, written back at the end of the block if they have changed."""
    lock = rendezvous.FileLock(instance, "naming")
    deadline = time.monotonic() + _LOCK_SECONDS
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise LockTimeoutError(
                f"the names of instance {instance!r} have been locked by process {lock.holder()} for "
                f"{_LOCK_SECONDS:g} seconds: it is alive but does not run; continue or end it"
            )
        time.sleep(_POLL_SECONDS)
    try:
        before = _read(instance)
        here = world()
        entries = [entry for entry in before if not entry.is_dead(here)]
        yield entries
        if entries != before:
            _write(instance, entries)
    finally:
        lock.release()


def _write(instance: str, entries: list[_Entry]) -> None:
    with rendezvous.directory(create=True) as path:
        final = Path(_file(path, instance))
        if not entries:
            final.unlink(missing_ok=True)
            return
        fresh = final.with_suffix(".names-new")
        fresh.write_text(json.dumps(entries))
        fresh.rename(final)


_registered: set[tuple[str, int]] = set()  # (instance, pid of the registrant: a forked child has nothing to give back)


def _unregister_at_exit() -> None:
    for instance, pid in _registered:
        if pid == os.getpid():
            try:
                with _changing(instance) as entries:
                    entries[:] = [entry for entry in entries if entry.pid != pid]
            except Exception:
                continue  # the name is gone with the process all the same


atexit.register(_unregister_at_exit)
