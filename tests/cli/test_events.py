# SPDX-License-Identifier: Apache-2.0
"""`tablemgr events`: what the segments remember, and what happens from then on, a line each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

import tablemgr as tm
from tablemgr import _ffi, segments
from tablemgr.cli import render
from tablemgr.cli.answers import Events
from tablemgr.cli.history import history
from tablemgr.segments import Process

from .conftest import Command
from .support import PATIENCE, Owner, make_orphan
from .test_frames import DEAD, OTHER, sighting


@contextlib.contextmanager
def following(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """`tablemgr events --follow` as a process, looking all the time; killed if it outlives the block."""
    command = [sys.executable, "-m", "tablemgr", "events", "--follow", "--interval", "0.01", *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """The next line that has these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}")


def claim(instance: str, name: str) -> None:
    """Be the owner of an orphan, without a manager that might be faster."""
    handle = segments.attach(instance, name, _ffi.MAP_HEAD)
    try:
        handle.claim(_ffi.CLAIM_ORPHAN_OR_KEPT)
    finally:
        handle.close()


def owner_of(name: str) -> Process:
    """Who owns the table, dead or alive."""
    (owner,) = [info.owner for info in tm.tables() if info.name == name]
    assert owner is not None
    return owner


def test_the_last_change_of_owners_is_told_with_time_reason_and_from_whom(tablemgr: Command, instance: str) -> None:
    """In order of time, each line with its time first; nobody was there to see it happen."""
    make_orphan("jobs")
    dead = owner_of("jobs").pid
    claim(instance, "jobs")
    with tm.create("later"):
        lines = tablemgr("events").out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "jobs appeared",
        f"jobs owner pid {dead} died",
        f"jobs was claimed by pid {os.getpid()} from pid {dead}",
        f"later appeared, owned by pid {os.getpid()}",
    ]
    times = [datetime.fromisoformat(line.split(" ", 1)[0]) for line in lines]
    assert times == sorted(times)
    assert all(time.tzinfo is not None for time in times)


def test_for_programs_each_line_is_an_object(tablemgr: Command, instance: str) -> None:
    """With the owner before and the reason; an orphan's owner is told to be dead."""
    make_orphan("jobs")
    make_orphan("left")
    dead = owner_of("jobs").pid
    claim(instance, "jobs")
    events = [json.loads(line) for line in tablemgr("events", "--json").out.splitlines()]
    (claimed,) = [event for event in events if event["kind"] == "owner"]
    assert (claimed["table"], claimed["detail"], claimed["process"]["pid"]) == ("jobs", "claim", os.getpid())
    assert (claimed["from"]["pid"], claimed["from"]["alive"]) == (dead, False)
    assert (events[-1]["table"], events[-1]["kind"]) == ("left", "owner died")


def test_an_instance_without_tables_has_no_lines(tablemgr: Command) -> None:
    """And no manager is started to find that out."""
    ran = tablemgr("events")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert tablemgr("status").status == 3


def test_what_happens_is_told_as_it_happens_until_interrupted(instance: str) -> None:
    """Each line at once, through a pipe; the interrupt ends it with 130."""
    with tm.create("first"), following() as process:
        line_with(process, "first appeared")  # the first look is over
        second = tm.create("second")
        line_with(process, f"second appeared, owned by pid {os.getpid()}")
        second.drop()
        line_with(process, "second is gone")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (130, "", "tablemgr: interrupted\n")


def test_managers_and_what_they_inherit_are_told(instance: str) -> None:
    """One is up, keeps the table of an owner that was killed, and is gone."""
    with tm.create("first"), following() as process:
        line_with(process, "first appeared")
        serve = subprocess.Popen([sys.executable, "-m", "tablemgr", "serve", "--quiet"])
        try:
            line_with(process, f" manager pid {serve.pid} is up")
            with Owner("jobs") as owner:
                line_with(process, f"jobs appeared, owned by pid {owner.pid}")
            line_with(process, f"jobs owner pid {owner.pid} died")
            line_with(process, f"jobs is kept for a successor by the manager, pid {serve.pid} from pid {owner.pid}")
        finally:
            serve.kill()
            serve.wait(PATIENCE)
        line_with(process, f" manager pid {serve.pid} is gone")


def test_who_follows_ends_when_nobody_reads_it_any_more(instance: str) -> None:
    """Though nothing happens that it could tell; without a word."""
    with tm.create("first"), following() as process:
        line_with(process, "first appeared")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == ""


@pytest.mark.parametrize("argv", [["--interval", "1"], *(["--follow", "--interval", n] for n in ("0", "-1", "nan"))])
def test_intervals_that_make_no_sense_are_usage_errors(tablemgr: Command, argv: list[str]) -> None:
    """It is a time between two looks: there must be two, and time between them."""
    assert tablemgr("events", *argv).status == 2


def text(**facts: Any) -> list[str]:
    """What `events` says of one table, without the times."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        render.render(Events(history([sighting(**facts)], 2e9)), Console(), as_json=False)
    return [line.split(" ", 1)[1] for line in said.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"previous": OTHER, "reason": "gift", "transferred": 1.8e9}, ["t was given to pid 4711 from pid 4712"]),
        (
            {"owner": OTHER, "previous": DEAD, "reason": "heir", "transferred": 1.8e9, "exit": -9},
            ["t owner pid 4711 died: SIGKILL", "t was inherited by pid 4712 from pid 4711"],
        ),
        (
            {"owner": OTHER, "previous": DEAD, "reason": "heir", "transferred": 1.8e9, "exit": 3, "kept": True},
            [
                "t owner pid 4711 died: exit code 3",
                "t is kept for a successor by the manager, pid 4712 from pid 4711",
            ],
        ),
        ({"last_repair": 1.9e9}, ["t was repaired after a death (2 repairs)"]),
        ({"damaged": "torn\napart"}, ["t is damaged: torn apart"]),
        ({"owner": DEAD}, ["t owner pid 4711 died"]),
    ],
)
def test_what_a_table_remembers_is_told_behind_its_beginning(facts: dict[str, Any], expected: list[str]) -> None:
    """How it came to its owner and how the one before ended, repairs, damage, and an owner that is dead now."""
    came = "" if "reason" in facts else ", owned by pid 4711"
    assert text(**facts) == [f"t appeared{came}", *expected]


def test_a_name_that_is_no_plain_text_keeps_to_its_line(tablemgr: Command, instance: str) -> None:
    """It is written as a literal."""
    with tm.create("two\nlines"):
        (line,) = tablemgr("events").out.splitlines()
    assert "'two\\nlines' appeared" in line
