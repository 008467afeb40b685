# SPDX-License-Identifier: Apache-2.0
"""What two looks at an instance show to have happened, and which lines are shown: no table is needed for that."""

from __future__ import annotations

from typing import Any

import pytest

from tablemgr.cli import frames
from tablemgr.cli.frames import COLUMNS, Choice, Line, Look, ManagerState
from tablemgr.segments import Process, Sighting

from .test_render import info

OWNER = Process(4711, 99, True)
DEAD = Process(4711, 99, False)
OTHER = Process(4712, 100, True)


def sighting(name: str = "t", table_id: int = 1, retired: int = 0, transfers: int = 0, **facts: Any) -> Sighting:
    how: dict[str, Any] = {key: facts.pop(key) for key in ("reason", "previous", "transferred", "exit") if key in facts}
    return Sighting(info(name, **facts), table_id, retired, transfers, **how)


def look(*sightings: Sighting, clock: float = 0.0, manager: ManagerState | None = None) -> Look:
    return Look("i", 1000.0 + clock, clock, manager or ManagerState(), sightings)


def events(before: Look, now: Look) -> list[tuple[str | None, str, int | None, str]]:
    found = frames.compare(before, now).events
    return [(one.table, one.kind, one.process.pid if one.process else None, one.detail) for one in found]


def test_the_first_look_knows_no_rates_and_no_events() -> None:
    """There is nothing to compare it with."""
    frame = frames.compare(None, look(sighting()))
    assert (frame.lines[0].growth, frame.lines[0].changes, frame.events) == (None, None, ())


def test_rates_are_differences_by_the_time_between_two_looks() -> None:
    """Blocks given up and rows more are changes; bytes in use are growth, which may be negative."""
    before = look(sighting(rows=10, retired=100, bytes_used=5000))
    line = frames.compare(before, look(sighting(rows=14, retired=106, bytes_used=4000), clock=2.0)).lines[0]
    assert (line.changes, line.growth) == (5.0, -500.0)
    fewer = frames.compare(before, look(sighting(rows=4, retired=106, bytes_used=5000), clock=2.0)).lines[0]
    assert fewer.changes == 3.0


def test_another_table_of_the_same_name_has_no_rates_yet() -> None:
    """It is told by its number: one is gone and one appeared."""
    before, now = look(sighting(table_id=1)), look(sighting(table_id=2), clock=1.0)
    assert frames.compare(before, now).lines[0].changes is None
    assert events(before, now) == [("t", "gone", None, ""), ("t", "appeared", 4711, "")]


def test_tables_come_go_and_are_renamed() -> None:
    """A renamed one is not taken for two."""
    before = look(sighting("a", 1), sighting("b", 2))
    now = look(sighting("b2", 2), sighting("c", 3), clock=1.0)
    assert events(before, now) == [("a", "gone", None, ""), ("b", "renamed", None, "b2"), ("c", "appeared", 4711, "")]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"owner": DEAD}, [("t", "owner died", 4711, "")]),
        (
            {"owner": OTHER, "transfers": 1, "reason": "heir", "previous": DEAD},
            [("t", "owner died", 4711, ""), ("t", "owner", 4712, "heir")],
        ),
        (
            {"owner": OTHER, "transfers": 1, "reason": "heir", "previous": DEAD, "kept": True},
            [("t", "owner died", 4711, ""), ("t", "owner", 4712, "kept")],
        ),
        ({"owner": OTHER, "transfers": 1, "reason": "gift", "previous": OWNER}, [("t", "owner", 4712, "gift")]),
        ({"owner": OTHER, "transfers": 1, "reason": "gift", "previous": DEAD}, [("t", "owner", 4712, "gift")]),
        ({"heir": None}, [("t", "heir", None, "none")]),
        ({"heir": OTHER}, [("t", "heir", 4712, "pid 4712")]),
        ({"access": "private"}, [("t", "access", None, "private")]),
        ({"repairs": 5}, [("t", "repairs", None, "3")]),
        ({"damaged": "why"}, [("t", "damaged", None, "why")]),
        ({}, []),
    ],
)
def test_what_happened_to_a_table_is_seen(now: dict[str, Any], expected: list[Any]) -> None:
    """Deaths, hand-overs with their reason, other heirs and access, repairs, damage."""
    assert events(look(sighting()), look(sighting(**now), clock=1.0)) == expected


def test_a_change_of_owners_has_its_own_time_and_the_end_of_the_one_before() -> None:
    """As the table has them; what happened is told in order of time."""
    before = look(sighting("a", 1), sighting("b", 2), sighting("c", 3))
    handed: dict[str, Any] = {"owner": OTHER, "transfers": 1, "reason": "heir", "previous": DEAD, "exit": -9}
    now = look(
        sighting("a", 1, access="private"),
        sighting("b", 2, transferred=1000.7, **handed),
        sighting("c", 3, transferred=1000.2, **handed),
        clock=1.0,
    )
    assert [(one.table, one.kind, one.when, one.exit) for one in frames.compare(before, now).events] == [
        ("c", "owner died", 1000.2, -9),
        ("c", "owner", 1000.2, -9),
        ("b", "owner died", 1000.7, -9),
        ("b", "owner", 1000.7, -9),
        ("a", "access", 1001.0, None),
    ]


def test_what_happened_to_the_manager_is_seen() -> None:
    """It comes, goes, and somebody stands in line; one that does not answer has not gone."""
    up, waits = ManagerState(OWNER), ManagerState(OWNER, True, (("t", OTHER),))
    silent = ManagerState(None, False)
    assert events(look(), look(manager=up)) == [(None, "manager up", 4711, "")]
    assert events(look(manager=up), look()) == [(None, "manager down", 4711, "")]
    assert events(look(manager=up), look(manager=waits)) == [("t", "waiting", 4712, "")]
    assert events(look(manager=up), look(manager=silent)) == []
    assert events(look(manager=silent), look(manager=up)) == []


def test_states_are_told_apart() -> None:
    """Owned, orphaned, kept, damaged, and closed by another user."""
    closed = {"type": "", "owner": None, "damaged": "no access", "uid": 987654}
    facts: list[dict[str, Any]] = [{}, {"owner": DEAD}, {"kept": True}, {"damaged": "x"}, closed]
    assert [Line(info(**each)).state for each in facts] == ["owned", "orphan", "kept", "damaged", "closed"]


@pytest.mark.parametrize("column", list(COLUMNS))
@pytest.mark.parametrize("reverse", [False, True])
def test_lines_can_be_sorted_by_every_column(column: str, reverse: bool) -> None:
    """What has no value there, a damaged segment for instance, does not hinder it."""
    lines = [
        Line(info("b", rows=1), 1.0, 5.0),
        Line(info("a", rows=3, owner=OTHER, heir=OTHER)),
        Line(info("bad", type="", owner=None, heir=None, damaged="x")),
    ]
    assert sorted(line.info.name for line in Choice(column, reverse).of(lines)) == ["a", "b", "bad"]


def test_figures_are_sorted_largest_first_and_what_is_unknown_comes_last() -> None:
    """Either way round."""
    lines = [Line(info("a"), 1.0, 1.0), Line(info("b"), 1.0, 2.0), Line(info("c"))]
    assert [line.info.name for line in Choice("changes").of(lines)] == ["b", "a", "c"]
    assert [line.info.name for line in Choice("changes", reverse=True).of(lines)] == ["a", "b", "c"]


def test_a_filter_is_part_of_a_name_or_a_pattern() -> None:
    """Whatever the case."""
    lines = [Line(info(name)) for name in ("jobs", "old jobs", "users")]
    assert [line.info.name for line in Choice(name="JOB").of(lines)] == ["jobs", "old jobs"]
    assert [line.info.name for line in Choice(name="job*").of(lines)] == ["jobs"]
