# SPDX-License-Identifier: Apache-2.0
"""show --match, --from, --to, --reverse and select; and get, put, delete, show, list, info on every type of table."""

from __future__ import annotations

import io

import pytest

import tablemgr as tm
from tablemgr import segments
from tablemgr.cli import asking
from tablemgr.cli.exits import RefusedError

from .conftest import Command


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def events(instance: str) -> tm.Table:
    """Rows ((user, number), ten times that, a dict, some x) in order."""
    table = tm.create("events", type="ordered_set", access="public", heir="manager")
    table.insert([((user, n), n * 10, {"n": n}, "x" * n) for user in "ab" for n in range(6)])
    return table


@pytest.mark.parametrize("kind", segments.TYPES)
def test_the_commands_for_rows_know_every_type_of_table(tablemgr: Command, kind: str) -> None:
    """put, get, show, list, info and delete."""
    with tm.create("t", type=kind, access="public", heir="manager") as table:
        for argv in (("1", "a"), ("1", "b"), ("2", "c")):
            assert tablemgr("put", "t", *argv).status == 0
        assert tablemgr("get", "t", "1", "--json").json == [list(row) for row in table.lookup(1)]
        assert tablemgr("show", "t", "--json").json == [list(row) for row in table]
        assert len(tablemgr("show", "t", "--match", "(1, _)").out.splitlines()) == len(table.lookup(1))
        assert tablemgr("list", "--json").json[0]["type"] == kind
        assert tablemgr("info", "t", "--json").json["rows"] == len(table)
        assert tablemgr("put", "t", "1", "d", "--new").status == 1
        gone = tablemgr("delete", "t", "1", "3", "--json")
        assert (gone.status, gone.json["missing"]) == (3, [3])
        assert gone.json["deleted"] == (2 if "bag" in kind else 1)
        assert list(table) == [(2, "c")]
        assert tablemgr("check", "t").status == 0


def test_show_matches_a_pattern(tablemgr: Command, events: tm.Table) -> None:
    """Rows that have the pattern's values, the same one for a variable that comes twice; limited if asked."""
    assert tablemgr("show", "events", "--match", "(('a', 3), _, _, _)").out == "(('a', 3), 30, {'n': 3}, 'xxx')\n"
    ran = tablemgr("show", "events", "--match", "((_, $1), _, {'n': $1}, 'x')", "--json")
    assert ran.json == [[[user, 1], 10, {"n": 1}, "x"] for user in "ab"]
    ran = tablemgr("show", "events", "--match", "(('b', _), _, _, _)", "--limit", "2", "--reverse", "--json")
    assert [row[1] for row in ran.json] == [50, 40]
    assert len(tablemgr("show", "events", "--match", "_").out.splitlines()) == 12
    assert tablemgr("show", "events", "--match", "(1, 2)").out == ""


def test_what_is_asked_for_whole_comes_in_pages(tablemgr: Command) -> None:
    """More matching rows than fit a page: all of them."""
    with tm.create("t", access="public", heir="manager") as table:
        table.insert([(n, n % 2) for n in range(5000)])
        assert len(tablemgr("show", "t", "--match", "(_, 1)").out.splitlines()) == 2500
        assert sorted(tablemgr("select", "t", "(v1, 0)", "--give", "v1", "--json").json) == list(range(0, 5000, 2))


def test_show_gives_a_range_of_an_ordered_set(tablemgr: Command, events: tm.Table) -> None:
    """From a key on, to before a key, backwards, limited; the bounds need not be there."""
    ran = tablemgr("show", "events", "--from", "('a', 4)", "--to", "('b', 1)", "--json")
    assert [row[0] for row in ran.json] == [["a", 4], ["a", 5], ["b", 0]]
    assert tablemgr("show", "events", "--from", "('b', 5)").out == "(('b', 5), 50, {'n': 5}, 'xxxxx')\n"
    ran = tablemgr("show", "events", "--to", "('a', 3.5)", "--reverse", "--limit", "2", "--json")
    assert [row[0] for row in ran.json] == [["a", 3], ["a", 2]]
    assert tablemgr("show", "events", "--from", "text", "--to", "()").out == ""


def test_ranges_are_for_ordered_sets_and_patterns_for_all(tablemgr: Command, events: tm.Table) -> None:
    """A set has no order: code 1; a pattern and bounds at once: code 2."""
    with tm.create("s", access="public", heir="manager"):
        ran = tablemgr("show", "s", "--from", "1")
        assert (ran.status, "are for an ordered_set" in ran.err) == (1, True)
    assert tablemgr("show", "events", "--match", "_", "--from", "1").status == 2


def test_select_applies_a_clause(tablemgr: Command, events: tm.Table) -> None:
    """Guards all have to be True; rows come out, or what --give makes of them."""
    ran = tablemgr(
        "select", "events", "((v1, v2), v3, _, v4)", "--where", "2 <= v2 < 4", "--where", "v1 in ('a', 'z')",
        "--give", "(v1, v2 * 2 + v3, len(v4))", "--json",
    )  # fmt: skip
    assert (ran.status, ran.json) == (0, [["a", 24, 2], ["a", 36, 3]])
    ran = tablemgr("select", "events", "((_, v1), _, _, _)", "--where", "v1 == 0")
    assert ran.out == "(('a', 0), 0, {'n': 0}, '')\n(('b', 0), 0, {'n': 0}, '')\n"
    ran = tablemgr("select", "events", "((_, v1), _, _, _)", "--give", "v1", "--limit", "3", "--reverse")
    assert ran.out == "5\n4\n3\n"
    assert tablemgr("select", "nope", "_").status == 3


def test_select_counts_and_deletes(tablemgr: Command, events: tm.Table) -> None:
    """--count says how many, --delete --yes removes just those."""
    clause = ("events", "((_, v1), _, _, _)", "--where", "v1 >= 4")
    assert tablemgr("select", *clause, "--count").out == "4\n"
    assert tablemgr("select", *clause, "--count", "--json").json == {"table": "events", "count": 4}
    assert tablemgr("select", *clause, "--delete", "--yes", "--json").json == {"table": "events", "deleted": 4}
    assert tablemgr("select", *clause, "--delete", "--yes").out == "0 rows deleted from events\n"
    assert len(events) == 8


@pytest.mark.parametrize(("said", "left"), [("y\n", 0), ("YES\n", 0), ("n\n", 12), ("\n", 12), ("", 12)])
def test_select_asks_before_it_deletes(
    tablemgr: Command, events: tm.Table, monkeypatch: pytest.MonkeyPatch, said: str, left: int
) -> None:
    """At a terminal, with the number of rows; anything but yes leaves them and ends with 1."""
    monkeypatch.setattr("sys.stdin", Terminal(said))
    ran = tablemgr("select", "events", "_", "--delete")
    assert "delete 12 of 12 rows of events?" in ran.err
    assert (ran.status, len(events)) == (1 if left else 0, left)


def test_who_cannot_be_asked_has_to_say_yes_beforehand(
    tablemgr: Command, events: tm.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal --delete is a usage error, and nothing is deleted."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ran = tablemgr("select", "events", "_", "--delete")
    assert (ran.status, len(events)) == (2, 12)
    assert "--yes" in ran.err


def test_a_question_names_what_it_is_about_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters that a terminal acts on are shown, not sent."""
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    asked = io.StringIO()
    monkeypatch.setattr("sys.stderr", asked)
    with pytest.raises(RefusedError):
        asking.confirm("delete \x1b[2J?")
    assert "\x1b" not in asked.getvalue()


@pytest.mark.parametrize(
    "argv",
    [
        ("show", "events", "--match", "(v1"),
        ("show", "events", "--match", "7"),
        ("select", "events"),
        ("select", "events", "(foo,)"),
        ("select", "events", "(v1,)", "--where", "v2"),
        ("select", "events", "(v1,)", "--where", "__import__('os').abort()"),
        ("select", "events", "(v1,)", "--count", "--delete"),
        ("select", "events", "(v1,)", "--count", "--give", "v1"),
        ("select", "events", "(v1,)", "--count", "--limit", "1"),
        ("select", "events", "(v1,)", "--delete", "--reverse"),
        ("select", "events", "(v1,)", "--yes"),
        ("select", "events", "(v1,)", "--limit", "-1"),
    ],
)
def test_what_is_malformed_is_wrong_usage(tablemgr: Command, events: tm.Table, argv: tuple[str, ...]) -> None:
    """Code 2 and a line that says why; the table is as it was."""
    ran = tablemgr(*argv)
    assert ran.status == 2
    assert ran.out == ""
    assert len(events) == 12


def test_a_failing_expression_makes_the_clause_not_apply(tablemgr: Command, events: tm.Table) -> None:
    """As in the library: no error, no row."""
    assert tablemgr("select", "events", "(_, v1, _, _)", "--where", "1 // v1 == 0", "--count").out == "10\n"


@pytest.mark.parametrize(("limit", "more"), [((), True), (("--limit", "0"), False), (("--limit", "1200"), False)])
def test_a_person_gets_the_first_thousand_and_is_told(
    tablemgr: Command, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, ...], more: bool
) -> None:
    """show --match, show --reverse and select on a terminal: limited unless asked otherwise."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    from tablemgr.cli import build_parser

    with tm.create("t", type="ordered_set", access="public", heir="manager") as table:
        table.insert([(n,) for n in range(1200)])
        for argv in (["show", "t", "--match", "_"], ["show", "t", "--reverse"], ["select", "t", "_"]):
            args = build_parser().parse_args([*argv, *limit])
            rows = args.run(args).snapshot
            assert (rows.paged, rows.more, len(list(rows.rows))) == (True, more, 1000 if more else 1200)
