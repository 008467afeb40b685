# SPDX-License-Identifier: Apache-2.0
"""gc: what is dead goes, everything else stays."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import tablemgr as tm
from tablemgr import rendezvous

from .conftest import Command
from .support import PATIENCE, Owner, make_orphan


def test_gc_removes_what_the_dead_left_and_says_so(tablemgr: Command) -> None:
    """A table without an heir whose owner is dead; the rest is counted and stays."""
    make_orphan("orphan", [(1, "x")])
    with Owner("alive"):
        code = "import os, signal, tablemgr as tm; t = tm.create('gone'); os.kill(os.getpid(), signal.SIGKILL)"
        subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE)
        assert any(entry.endswith(".gone") for entry in os.listdir("/dev/shm"))
        ran = tablemgr("gc", "--json")
        assert ran.status == 0
        assert ran.json == {"tables": ["gone"], "files": [], "orphans": ["orphan"], "damaged": []}
        assert "1 orphan may be claimed" in ran.err
        assert tablemgr("gc").out == "nothing was dead\n"
        assert [info.name for info in tm.tables()] == ["alive", "orphan"]


def test_gc_counts_damaged_tables_and_leaves_them(tablemgr: Command, instance: str) -> None:
    """Removing those is a decision."""
    Path(f"/dev/shm/tablemgr.{instance}.bad").write_bytes(b"x" * 100)
    ran = tablemgr("gc")
    assert ran.status == 0
    assert ran.out == "nothing was dead\n"
    assert "1 damaged table: `tablemgr drop NAME --force`" in ran.err
    assert tablemgr("drop", "bad", "--force").status == 0


def test_gc_removes_the_socket_and_the_lock_of_a_killed_manager(tablemgr: Command, instance: str) -> None:
    """Of one that runs it touches nothing."""
    serve = subprocess.Popen([sys.executable, "-m", "tablemgr", "serve", "--quiet", "--log-level", "error"])
    try:
        assert tablemgr("wait", "--timeout", str(PATIENCE)).status == 0
        assert tablemgr("gc", "--json").json["files"] == []
        assert tablemgr("status").status == 0
        serve.kill()
        serve.wait(PATIENCE)
        path = rendezvous.socket_path(instance)
        assert os.path.exists(path)
        ran = tablemgr("gc")
        assert sorted(ran.out.splitlines()) == [
            f"{path.removesuffix('sock')}lock removed: nobody alive uses it",
            f"{path} removed: nobody alive uses it",
        ]
        assert not os.listdir(rendezvous.directory_path())
    finally:
        serve.kill()
        serve.wait(PATIENCE)


def test_gc_leaves_a_socket_that_an_init_system_listens_on(tablemgr: Command, instance: str) -> None:
    """No manager runs, but the first client will start it there."""
    os.mkdir(rendezvous.directory_path(), 0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(rendezvous.socket_path(instance))
        listening.listen()
        assert tablemgr("gc", "--json").json["files"] == []
        assert os.path.exists(rendezvous.socket_path(instance))
    assert tablemgr("gc", "--json").json["files"] == [rendezvous.socket_path(instance)]


def test_gc_without_anything_does_nothing(tablemgr: Command) -> None:
    """Not even a directory is made."""
    assert tablemgr("gc", "--json").json == {"tables": [], "files": [], "orphans": [], "damaged": []}
    assert not os.path.exists(rendezvous.directory_path())


def test_orphans_are_dropped_whether_a_manager_keeps_them_or_not(tablemgr: Command) -> None:
    """drop --orphans: tables of the dead go, those of live owners stay."""
    make_orphan("a")
    with tm.Manager(), Owner("alive"):
        make_orphan("b")
        assert tablemgr("drop", "--orphans", "--json").json == {"dropped": ["a", "b"], "refused": []}
        assert [info.name for info in tm.tables()] == ["alive"]
