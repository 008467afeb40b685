# SPDX-License-Identifier: Apache-2.0
"""The demo's work: which files, how identifiers are counted, and what a worker does so that a kill costs nothing.

The shared table holds three kinds of rows: `(identifier, count)`; `(("file", i), state, worker)` with state "todo",
"taken" or "done"; and `(DONE, n)`, `(GATE, n)`. A worker takes a file by compare-and-swap, and puts all of its counts
and its "done" into the table with one `atomic()` block: killed before the block's commit, nothing of the file is there
and the worker's successor counts it again; killed after it, everything is. The worker's own table, which its successor
inherits, says which file it was at."""

from __future__ import annotations

import keyword
import os
import re
import sysconfig
import time
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tablemgr import client, table
from tablemgr.errors import ManagerUnavailableError

SHARED = "identifiers"
DONE = ("done",)
GATE = ("gate",)
READY = "ready"
AT = "at"
PAUSE_SECONDS = 0.002
MANAGER_SECONDS = 30.0
SNIFF_BYTES = 8192
WORD = re.compile(r"[^\W\d]\w*")


def standard_library() -> Path:
    """The directory of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def find_files(root: Path) -> list[Path]:
    """The regular files to count below `root`, sorted: the `.py` files, or, where there is none, all text files."""
    found = [path for path in _walk(root) if path.is_file() and not path.is_symlink()]
    python = [path for path in found if path.suffix == ".py"]
    return sorted(python or [path for path in found if _is_text(path)])


def _walk(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        # What pip has installed is no part of the standard library, nor are caches and repositories of any tree.
        names[:] = [name for name in names if name not in ("site-packages", "dist-packages", "__pycache__", ".git")]
        yield from (Path(directory, name) for name in files)


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(SNIFF_BYTES)
    except OSError:
        return False
    return bool(head) and b"\0" not in head


def count_file(path: Path) -> Counter[str]:
    """The identifiers of a file and how often each occurs.

    Python files are cut up by `tokenize`; names that are keywords do not count. Of a file that does not tokenize, and
    of any other text, the words count that look like identifiers, keywords left out of Python files there too."""
    if path.suffix != ".py":
        return Counter(_words(path))
    try:
        with path.open("rb") as file:
            names = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME]
        "".join(names).encode()  # lone surrogates are no identifier
    except (tokenize.TokenError, SyntaxError, ValueError):
        names = _words(path)
    return Counter(name for name in names if not keyword.iskeyword(name))


def _words(path: Path) -> list[str]:
    return WORD.findall(path.read_text(encoding="utf-8", errors="replace"))


def fill(shared: table.Table, n_files: int, gate: int) -> None:
    """Put the work into a new table: a "todo" row per file, and how far the workers may go for now."""
    shared.insert([(("file", i), "todo", "") for i in range(n_files)])
    shared.insert([(DONE, 0), (GATE, gate)])


def work(instance: str, me: str, files: Sequence[Path]) -> None:
    """A worker's life: attach, finish what the predecessor was at, then take file after file until none is left."""
    mine = own(instance, me)
    with table.attach(SHARED, instance=instance) as shared:
        mine.insert((READY, os.getpid(), time.monotonic()))
        unfinished = mine.lookup_element(AT, 1, None)
        if unfinished is not None and shared.lookup(("file", unfinished)) == [(("file", unfinished), "taken", me)]:
            count_into(shared, files[unfinished], unfinished, me)
        position = 0
        while position < len(files):
            if position >= shared.lookup_element(GATE, 1):
                time.sleep(PAUSE_SECONDS)
            elif shared.lookup(("file", position)) != [(("file", position), "todo", "")]:
                position += 1
            else:
                mine.insert((AT, position))
                if shared.compare_and_swap((("file", position), "todo", ""), (("file", position), "taken", me)):
                    count_into(shared, files[position], position, me)
                position += 1


def count_into(shared: table.Table, path: Path, position: int, me: str) -> None:
    """Count a file; its counts, its "done" and the number of files done become visible together, or none of them."""
    counts = count_file(path)
    with shared.atomic() as tx:
        for word, n in counts.items():
            tx.update_counter(word, n, (word, 0))
        tx.insert((("file", position), "done", me))
        tx.update_counter(DONE, 1)


def totals(shared: table.Table) -> Counter[str]:
    """What the table says: the count of every identifier."""
    return Counter({row[0]: row[1] for row in shared if isinstance(row[0], str)})


def states(shared: table.Table) -> Counter[str]:
    """How many files are in which state."""
    return Counter(row[1] for row in shared if isinstance(row[0], tuple) and row[0][0] == "file")


def own(instance: str, name: str) -> table.Table:
    """This process's own table, new or handed back. The manager may be dead just now: its successor is waited for."""
    manager = client.Client(instance)
    deadline = time.monotonic() + MANAGER_SECONDS
    while True:
        try:
            manager.wait_for_manager(deadline - time.monotonic())
            return manager.new_table(name, access="protected")
        except ManagerUnavailableError:
            if time.monotonic() > deadline:
                raise


def open_shared(instance: str, n_files: int, gate: int) -> table.Table:
    """Make the table that all workers write; this process owns it, the manager, once there is one, is its heir."""
    shared = table.create(SHARED, access="public", heir="manager", instance=instance)
    fill(shared, n_files, gate)
    return shared
