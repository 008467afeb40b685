# SPDX-License-Identifier: Apache-2.0
"""serve status stop wait, with a manager in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tablemgr as tm

from .conftest import Command
from .support import PATIENCE, Owner


@pytest.fixture
def serving(instance: str) -> Iterator[subprocess.Popen[str]]:
    """`tablemgr serve`, up."""
    serve = subprocess.Popen([sys.executable, "-m", "tablemgr", "serve"], stderr=subprocess.PIPE, text=True)
    assert serve.stderr is not None
    assert f"serving instance '{instance}', pid {serve.pid}" in serve.stderr.readline()
    yield serve
    if serve.poll() is None:
        serve.kill()
    serve.wait(PATIENCE)
    serve.stderr.close()


def test_without_a_manager_status_and_stop_end_with_3(tablemgr: Command) -> None:
    """Nothing runs, nothing is started; `wait` gives up after its time with 1."""
    status = tablemgr("status")
    assert status.status == 3
    assert "not running" in status.out
    assert tablemgr("status", "--json").json["manager"] is None
    assert tablemgr("stop").status == 3
    assert tablemgr("wait", "--timeout", "0.01").status == 1


def test_status_names_the_manager_and_stop_ends_it(tablemgr: Command, serving: subprocess.Popen[str]) -> None:
    """`serve` ends with 0 when it is told to stop, and leaves no socket."""
    assert tablemgr("wait", "--timeout", "10").status == 0
    running = tablemgr("status", "--json")
    assert running.status == 0
    assert running.json["manager"]["pid"] == serving.pid
    assert f"pid {serving.pid}" in tablemgr("status").out
    assert tablemgr("stop").status == 0
    assert serving.wait(PATIENCE) == 0
    assert tablemgr("status").status == 3
    assert not os.path.exists(running.json["socket"])


def test_a_second_manager_is_refused(tablemgr: Command, serving: subprocess.Popen[str]) -> None:
    """The instance has one already: exit code 1, and the first goes on."""
    ran = tablemgr("serve")
    assert ran.status == 1
    assert ran.err.startswith("tablemgr: ")
    assert tablemgr("status").status == 0


def test_sigterm_ends_the_manager_in_order(tablemgr: Command, serving: subprocess.Popen[str]) -> None:
    """What an init system does to a daemon: exit code 0."""
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(PATIENCE) == 0
    assert tablemgr("status").status == 3


def test_status_shows_who_stands_in_line(tablemgr: Command, serving: subprocess.Popen[str]) -> None:
    """A process that waits for a table is named with it."""
    with Owner("jobs"):
        code = "import tablemgr; tablemgr.new_table('jobs', wait=None)"
        waiter = subprocess.Popen([sys.executable, "-c", code])
        try:
            while not (waiting := tablemgr("status", "--json").json["waiting"]):
                assert waiter.poll() is None
            name, process = waiting[0]
            assert (name, process["pid"]) == ("jobs", waiter.pid)
            assert f"pid {waiter.pid} for jobs" in tablemgr("status").out
        finally:
            waiter.kill()
            waiter.wait(PATIENCE)


def test_a_missing_directory_for_files_is_refused(tablemgr: Command, tmp_path: Path) -> None:
    """It is not made: a word that is misspelt would be a place where nobody looks for the tables."""
    ran = tablemgr("serve", "--save-dir", str(tmp_path / "missing"))
    assert ran.status == 2
    assert ran.err == f"tablemgr: --save-dir {str(tmp_path / 'missing')!r} is no directory: make it first\n"


def test_tables_outlive_the_manager(tablemgr: Command, serving: subprocess.Popen[str]) -> None:
    """After `stop`, rows are where they were."""
    table = tm.new_table("t", access="public")
    table.insert((1, "x"))
    assert tablemgr("stop").status == 0
    assert tablemgr("get", "t", "1").out == "(1, 'x')\n"
    table.close()
