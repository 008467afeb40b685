# SPDX-License-Identifier: Apache-2.0
"""The command line run by another user, or in another pid namespace: it shows what there is, and says why not more."""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import cli
from tests.sharing.test_strangers import NOBODY, SOMEBODY, as_user, in_other_namespace

from .conftest import Ran


def run(*argv: str) -> Ran:
    """In a child: a command and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(argv)
    return Ran(status, out.getvalue(), err.getvalue())


def as_somebody(*argv: str) -> Ran:
    """Run a command as a user whose the tables below are not."""

    def child() -> Ran:
        os.environ["XDG_RUNTIME_DIR"] = "/nonexistent"  # this test's is the first user's
        return run(*argv)

    ran = as_user(SOMEBODY, child)
    assert isinstance(ran, Ran)
    return ran


@pytest.fixture
def theirs(instance: str) -> None:
    """Orphans of user nobody, one that is open to all and one that is not."""

    def make() -> None:
        for name, mode in (("closed", 0o600), ("open", 0o666)):
            tm.create(name, access="public", heir="manager", mode=mode).insert((1, 2))

    as_user(NOBODY, make)


def test_list_says_whose_a_table_is(theirs: None) -> None:
    """A closed one with nothing but its name, its size and its user."""
    tables = {row["name"]: row for row in json.loads(as_somebody("list", "--json").out)}
    assert {name: row["uid"] for name, row in tables.items()} == {"closed": NOBODY, "open": NOBODY}
    assert (tables["open"]["rows"], tables["open"]["damaged"]) == (1, None)
    assert (tables["closed"]["rows"], tables["closed"]["type"]) == (0, "")
    line = next(line for line in as_somebody("list").out.splitlines() if line.startswith("closed"))
    assert "not yours" in line
    assert "nobody" in line


@pytest.mark.parametrize(
    "argv", [("show", "closed"), ("get", "closed", "1"), ("check", "closed"), ("dump", "closed", "-")]
)
def test_what_reads_a_closed_table_is_refused(theirs: None, argv: tuple[str, ...]) -> None:
    """Exit code 1 and the reason: whose it is."""
    ran = as_somebody(*argv)
    assert ran.status == 1
    assert ran.out == ""
    assert "Permission denied" in ran.err
    assert "uid 65534" in ran.err


def test_what_a_user_may_read_is_read(theirs: None) -> None:
    """The open one; info and check describe it."""
    assert as_somebody("get", "open", "1").out == "(1, 2)\n"
    assert json.loads(as_somebody("info", "open", "--json").out)["uid"] == NOBODY
    ran = as_somebody("check", "open")
    assert (ran.status, ran.out) == (0, "open: sound\n")


@pytest.mark.parametrize(
    "argv",
    [
        ("put", "open", "1", "3"),
        ("delete", "open", "1"),
        ("drop", "open"),
        ("drop", "closed"),
        ("drop", "open", "closed", "--force"),
        ("drop", "--all", "--force"),
    ],
)
def test_what_changes_another_users_table_is_refused(theirs: None, argv: tuple[str, ...]) -> None:
    """Also with force: the directory is sticky, and a name is its user's."""
    ran = as_somebody(*argv)
    assert ran.status == 1
    assert "uid 65534" in ran.err
    assert sorted(info.name for info in tm.tables()) == ["closed", "open"]


@pytest.mark.parametrize("argv", [("drop", "--orphans"), ("drop", "--all")])
def test_what_drops_many_drops_this_users(theirs: None, argv: tuple[str, ...]) -> None:
    """Other users' tables are left, and that is said; it is no failure."""

    def with_one_of_its_own() -> Ran:
        os.environ["XDG_RUNTIME_DIR"] = "/nonexistent"
        if os.fork() == 0:
            tm.create("mine", heir="manager")
            os._exit(0)
        os.wait()
        return run(*argv, "--json")

    ran = as_user(SOMEBODY, with_one_of_its_own)
    assert (ran.status, json.loads(ran.out)["dropped"]) == (0, ["mine"])
    assert "other users" in ran.err
    assert sorted(info.name for info in tm.tables()) == ["closed", "open"]


def test_another_users_table_is_not_a_damaged_one(theirs: None) -> None:
    """gc and status count what this user can do something about, events tell of what has happened."""
    ran = as_somebody("gc")
    assert (ran.status, ran.out, ran.err) == (0, "nothing was dead\n", "")
    status = json.loads(as_somebody("status", "--json").out)
    assert (status["tables"], status["damaged"]) == (2, 0)
    assert "closed" not in as_somebody("events").out


def test_in_another_pid_namespace_tables_are_shown_and_not_touched(instance: str) -> None:
    """An owner that cannot be seen from there is no dead one: nothing is an orphan, nothing is dropped as one."""
    table = tm.create("t", access="public", heir="manager")
    table.insert((1, 2))

    def child() -> list[Any]:
        commands = [("list", "--json"), ("get", "t", "1"), ("check", "t"), ("drop", "--orphans"), ("gc",)]
        return [run(*argv) for argv in (*commands, ("put", "t", "1", "3"), ("drop", "t"))]

    listed, got, checked, orphans, gc, put, drop = in_other_namespace(child)
    (row,) = json.loads(listed.out)
    assert (row["name"], row["rows"], row["owner"]["alive"]) == ("t", 1, True)
    assert (got.status, got.out, checked.status, checked.out) == (0, "(1, 2)\n", 0, "t: sound\n")
    assert (orphans.status, orphans.out) == (0, "0 of 0 tables dropped\n")
    assert (gc.status, gc.out, gc.err) == (0, "nothing was dead\n", "")
    for refused in (put, drop):
        assert refused.status == 1
        assert "namespace" in refused.err
    assert list(table) == [(1, 2)]
