# SPDX-License-Identifier: Apache-2.0
"""list info show get put delete drop check, against real tables."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr import segment_names, segments
from tests.support.child import Child

from .conftest import Command
from .support import Owner, make_orphan

SHM = Path("/dev/shm")


def public(name: str, *rows: tuple[object, ...]) -> tm.Table:
    table = tm.create(name, access="public", heir="manager")
    table.insert(list(rows))
    return table


def test_list_shows_every_table_of_the_instance(tablemgr: Command, instance: str) -> None:
    """Public, private and orphaned tables are listed, those of other instances are not."""
    with public("b", (1,)), tm.create("a", access="private"):
        make_orphan("c", [(1,), (2,)])
        ran = tablemgr("list")
        assert ran.status == 0
        assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["a", "b", "c"]
        assert "orphan of" in ran.out
        listed = tablemgr("list", "--json").json
        assert [(table["name"], table["rows"], table["access"]) for table in listed] == [
            ("a", 0, "private"),
            ("b", 1, "public"),
            ("c", 2, "protected"),
        ]
        assert tablemgr("--instance", instance + "-other", "list", "--json").json == []


def test_a_damaged_segment_is_listed_described_and_checked(tablemgr: Command, instance: str) -> None:
    """What is no table under a table's name: list and info say so, check ends with 4, drop needs --force."""
    path = SHM / segment_names.segment_name(instance, "bad")[1:]
    path.write_bytes(os.urandom(8192))
    assert "damaged" in tablemgr("list").out
    assert tablemgr("info", "bad", "--json").json["damaged"]
    assert tablemgr("check").status == 4
    assert tablemgr("check", "bad").status == 4
    assert tablemgr("get", "bad", "1").status == 1
    refused = tablemgr("drop", "bad")
    assert refused.status == 1
    assert "--force" in refused.err
    assert tablemgr("drop", "bad", "--force").status == 0
    assert not path.exists()


def test_info_describes_a_table_or_the_instance(tablemgr: Command, instance: str) -> None:
    """With a name all of its facts, without one the sums; an unknown name ends with 3."""
    with public("t", (1, 2), (3, 4)):
        facts = tablemgr("info", "t", "--json").json
        assert facts["rows"] == 2
        assert facts["owner"]["pid"] == os.getpid()
        assert facts["heir"] == "manager"
        assert f"pid {os.getpid()}" in tablemgr("info", "t").out
        sums = tablemgr("info", "--json").json
        assert (sums["instance"], sums["tables"], sums["rows"], sums["manager"]) == (instance, 1, 2, None)
        assert tablemgr("info").status == 0
        missing = tablemgr("info", "nope")
        assert missing.status == 3
        assert "nope" in missing.err


@pytest.mark.parametrize(
    "argv",
    ["info T", "show T", "select T _", "get T 1", "put T 1", "delete T 1", "drop T", "check T", "dump T -"],
)
def test_a_table_that_is_not_there_is_told_with_its_instance(tablemgr: Command, instance: str, argv: str) -> None:
    """Who forgot --instance sees where was looked, and a command that shows more."""
    ran = tablemgr(*argv.split())
    assert ran.status == 3
    assert ran.err == (
        f"tablemgr: there is no table 'T' in instance {instance!r}; `tablemgr list` shows those there are\n"
    )


def test_a_check_of_nothing_says_so(tablemgr: Command, instance: str) -> None:
    """Silence and code 0 would pass for sound tables where the wrong instance was named."""
    ran = tablemgr("check", "--json")
    assert (ran.status, ran.json, ran.err) == (0, {}, f"tablemgr: no tables in instance {instance}\n")


def test_show_gives_all_rows_or_the_first_of_them(tablemgr: Command) -> None:
    """In a pipe there is no limit but the one asked for."""
    with public("t", *((n, f"v{n}") for n in range(1500))):
        assert len(tablemgr("show", "t").out.splitlines()) == 1500
        assert len(tablemgr("show", "t", "--limit", "10").out.splitlines()) == 10
        assert len(tablemgr("show", "t", "--limit", "0").out.splitlines()) == 1500
        assert sorted(tablemgr("show", "t", "--json").json)[:2] == [[0, "v0"], [1, "v1"]]
        assert tablemgr("show", "nope").status == 3


def test_put_get_and_delete_take_python_literals(tablemgr: Command) -> None:
    """7 and '7' are two keys; a missing key ends with 3."""
    with public("t") as table:
        assert tablemgr("put", "t", "7", "(1, 'x')").status == 0
        assert tablemgr("put", "t", "'7'", "text", "None").status == 0
        assert sorted(table, key=repr) == [("7", "text", None), (7, (1, "x"))]
        assert tablemgr("get", "t", "7").out == "(7, (1, 'x'))\n"
        assert tablemgr("get", "t", "'7'", "--json").json == [["7", "text", None]]
        assert tablemgr("get", "t", "8").status == 3
        deleted = tablemgr("delete", "t", "7", "8", "'7'")
        assert deleted.status == 3
        assert "8" in deleted.err
        assert len(table) == 0
        assert tablemgr("delete", "t", "8", "--json").json == {"table": "t", "deleted": 0, "missing": [8]}


@pytest.mark.parametrize("kind", segments.TYPES)
def test_show_get_and_put_are_for_every_type(tablemgr: Command, kind: str) -> None:
    """A bag's keys have several rows, of which get and show give all; an ordered_set has 1.0 where it has 1."""
    with tm.create("t", type=kind, access="public") as table:
        for row in (("1", "'one'"), ("2", "two"), ("1", "uno"), ("1", "uno")):
            assert tablemgr("put", "t", *row).status == 0
        rows = {"bag": ["one", "uno"], "duplicate_bag": ["one", "uno", "uno"]}.get(kind, ["uno"])
        assert tablemgr("get", "t", "1", "--json").json == [[1, value] for value in rows]
        assert len(tablemgr("show", "t").out.splitlines()) == len(rows) + 1 == len(table)
        assert tablemgr("get", "t", "1.0").status == (0 if kind == "ordered_set" else 3)
        assert tablemgr("put", "t", "1", "new", "--new").status == 1
        assert tablemgr("delete", "t", "1").status == 0
        assert list(table) == [(2, "two")]


def test_put_new_does_not_replace(tablemgr: Command) -> None:
    """With --new an existing row stays, and the command ends with 1."""
    with public("t", (1, "old")) as table:
        assert tablemgr("put", "t", "1", "new", "--new").status == 1
        assert list(table) == [(1, "old")]
        assert tablemgr("put", "t", "2", "new", "--new").status == 0
        assert tablemgr("put", "t", "1", "new").status == 0
        assert table.lookup(1) == [(1, "new")]


def test_put_takes_the_rows_of_a_shared_dict(tablemgr: Command) -> None:
    """Key and value are the row."""
    shared: tm.SharedDict[str, int] = tm.SharedDict("counts")
    tablemgr("put", "counts", "requests", "7")
    assert shared["requests"] == 7
    shared.table.close()


def test_what_a_table_refuses_ends_with_1(tablemgr: Command) -> None:
    """Access, unhashable keys and short rows: the library's message, and nothing changed."""
    with Owner("protected"), Owner("private", access="private"):
        assert tablemgr("put", "protected", "2", "x").status == 1
        assert tablemgr("delete", "protected", "1").status == 1
        assert tablemgr("get", "protected", "1").out == "(1, 'row')\n"
        assert tablemgr("get", "private", "1").status == 1
        assert tablemgr("show", "private").status == 1
        assert tablemgr("check", "private").status == 1
        every = tablemgr("check", "--json")
        assert (every.status, every.json) == (0, {"protected": []})
        assert every.err.startswith("tablemgr: left out: check: table 'private' does not admit this process")
    assert tablemgr("drop", "--orphans").status == 0
    with public("t"):
        bad = tablemgr("put", "t", "[1]", "x")
        assert bad.status == 1
        assert "list" in bad.err


def test_pickled_rows_are_not_unpickled(tablemgr: Command) -> None:
    """Unpickling runs code: the command line refuses, and says so."""
    with tm.create("p", access="public", heir="manager", codec="pickle") as table:
        table.insert((1, {1, 2}))
        for argv in (("get", "p", "1"), ("show", "p"), ("put", "p", "1", "2"), ("delete", "p", "1")):
            ran = tablemgr(*argv)
            assert ran.status == 1
            assert "pickle" in ran.err
        assert len(table) == 1
        assert tablemgr("check", "p").status == 0
        assert tablemgr("info", "p").status == 0


def test_names_may_be_any_text(tablemgr: Command) -> None:
    """Slashes, dots, blanks and umlauts name tables; a name that cannot be one is an error, not "not found"."""
    for name in ("a/b", "..", "Grüße, Welt"):
        with public(name):
            assert tablemgr("info", name).status == 0
            assert tablemgr("drop", name).status == 0
    for name in ("", "x" * 300):
        ran = tablemgr("info", name)
        assert ran.status == 1
        assert "name" in ran.err


def test_drop_removes_what_is_named_and_goes_on_after_a_refusal(tablemgr: Command) -> None:
    """A table that is not there does not keep the others from being dropped."""
    with public("a"), public("b"):
        ran = tablemgr("drop", "a", "nope", "b")
        assert ran.status == 3
        assert "2 of 3" in ran.out
        assert "nope" in ran.err
        assert tablemgr("list", "--json").json == []


def test_what_no_force_removes_is_named_without_that_hint(tablemgr: Command, instance: str) -> None:
    """A name that no table can have, and a directory in a table's place."""
    ran = tablemgr("drop", "")
    assert (ran.status, "must not be empty" in ran.err, "--force" in ran.err) == (1, True, False)
    directory = Path(f"/dev/shm/tablemgr.{instance}.here")
    directory.mkdir()
    try:
        ran = tablemgr("drop", "--all", "--force")
    finally:
        directory.rmdir()
    assert (ran.status, "'here': " in ran.err) == (1, True)


def test_drop_orphans_leaves_the_tables_of_the_living(tablemgr: Command) -> None:
    """Only tables whose owner is dead go."""
    make_orphan("dead-1", access="private")
    make_orphan("dead-2")
    with public("alive"):
        ran = tablemgr("drop", "--orphans", "--json")
        assert ran.status == 0
        assert ran.json == {"dropped": ["dead-1", "dead-2"], "refused": []}
        assert [table["name"] for table in tablemgr("list", "--json").json] == ["alive"]


def test_drop_orphans_takes_what_the_manager_keeps(tablemgr: Command) -> None:
    """Tables that the manager has inherited go too; tables that its process made itself do not."""
    make_orphan("kept")
    with tm.Manager(), public("mine"):
        assert "kept by" in tablemgr("list").out
        assert "1 kept" in tablemgr("status").out
        assert tablemgr("drop", "--orphans", "--json").json == {"dropped": ["kept"], "refused": []}
        assert [table["name"] for table in tablemgr("list", "--json").json] == ["mine"]


@pytest.mark.parametrize("access", ["public", "protected", "private"])
def test_a_table_of_the_dead_is_dropped_by_name(tablemgr: Command, access: str) -> None:
    """Its owner is dead, so nobody has to be forced, whether or not a manager keeps it."""
    make_orphan("orphan", access=access)
    assert tablemgr("drop", "orphan").status == 0
    make_orphan("kept", access=access)
    with tm.Manager():
        assert [info.kept for info in tm.tables()] == [True]
        assert tablemgr("drop", "kept").status == 0
        assert tm.tables() == []


def test_who_is_kept_out_of_a_kept_table_is_told_how_to_get_it(instance: str) -> None:
    """The manager is its owner in name only."""
    make_orphan("t")

    def write() -> str:
        with tm.attach("t") as table, pytest.raises(tm.AccessError) as caught:
            table.insert((2, "x"))
        return str(caught.value)

    with Child(lambda pipe: pipe.recv() and write()) as other, tm.Manager():
        other.send(True)
        told = other.result()
    assert f"kept by the manager, process {os.getpid()}" in told
    assert "new_table() takes the table over" in told


def claim(pipe: Connection, name: str) -> None:
    """A restarted worker: takes its table when told to, says whether it came with its rows, and lives on."""
    pipe.recv()
    pipe.send(tm.new_table(name).inherited)
    pipe.recv()


def test_drop_orphans_spares_what_was_claimed_meanwhile(tablemgr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the drop a restarted worker takes its table back: it stays, public or not."""
    make_orphan("open", access="public")
    make_orphan("guarded")
    with Child(claim, "open") as first, Child(claim, "guarded") as second, tm.Manager():
        found = segments.tables()
        for worker in (first, second):
            worker.send()
            assert worker.receive() is True
        with monkeypatch.context() as patch:
            patch.setattr(segments, "tables", lambda instance: found)
            ran = tablemgr("drop", "--orphans", "--json")
        assert (ran.status, ran.json) == (0, {"dropped": [], "refused": []})
        assert [(info.name, info.kept) for info in tm.tables()] == [("guarded", False), ("open", False)]


def test_of_a_claim_and_a_drop_one_succeeds(instance: str) -> None:
    """A restarted worker races with drop --orphans: it has the table with its rows, or the table is gone."""
    for turn in range(30):
        make_orphan("t", [(1, "row")], access=("public", "protected")[turn % 2])
        with Child(claim, "t") as worker, tm.Manager():
            worker.send()
            try:
                segments.drop_orphan("t")
                dropped = True
            except tm.TableOwnedError:
                dropped = False
            assert worker.receive() is not dropped
            with tm.attach("t") as table:
                assert list(table) == ([] if dropped else [(1, "row")])
        tm.drop("t")


def test_drop_all_needs_force_where_a_live_owner_objects(tablemgr: Command) -> None:
    """Public tables and orphans go; a protected table of a live process goes with --force."""
    make_orphan("dead")
    with public("open"), Owner("guarded"):
        ran = tablemgr("drop", "--all")
        assert ran.status == 1
        assert "guarded" in ran.err
        assert "--force" in ran.err
        assert [table["name"] for table in tablemgr("list", "--json").json] == ["guarded"]
        assert tablemgr("drop", "--all", "--force").status == 0
        assert tablemgr("list", "--json").json == []


@pytest.mark.parametrize("how", ["copied", "moved"])
def test_a_segment_under_another_name_is_listed_and_dropped_by_that(tablemgr: Command, instance: str, how: str) -> None:
    """A copy by `cp`, and what a renamer leaves that is killed before it writes the new name into the segment."""
    public("t", (1,)).close()
    old, new = (SHM / segment_names.segment_name(instance, name)[1:] for name in ("t", "other"))
    if how == "copied":
        new.write_bytes(old.read_bytes())
    else:
        old.rename(new)
    names = ["other", "t"] if how == "copied" else ["other"]
    assert [table["name"] for table in tablemgr("list", "--json").json] == names
    assert tablemgr("info", "other", "--json").json["rows"] == 1
    dropped = tablemgr("drop", "--all", "--json")
    assert (dropped.status, dropped.json["dropped"]) == (0, names)
    assert not old.exists()
    assert not new.exists()


def test_check_finds_sound_tables_sound(tablemgr: Command) -> None:
    """All tables without a name, the named ones with; an unknown name ends with 3."""
    with public("a", *((n, "x" * n) for n in range(300))), public("b"):
        assert tablemgr("check", "--json").json == {"a": [], "b": []}
        assert tablemgr("check", "a").out == "a: sound\n"
        assert tablemgr("check", "a", "--no-repair").status == 0
        assert tablemgr("check", "nope").status == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_show_is_paged_and_limited_on_a_terminal_only(
    tablemgr: Command, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """A program gets everything, a person the first thousand."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    from tablemgr.cli import build_parser

    with public("t", *((n,) for n in range(1200))):
        args = build_parser().parse_args(["show", "t"])
        rows = args.run(args).snapshot
        assert rows.paged is terminal
        assert rows.total == 1200
        assert len(list(rows.rows)) == (1000 if terminal else 1200)
