# SPDX-License-Identifier: Apache-2.0
"""`tablemgr bench`, and the parts of the benchmarks that need no measuring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tablemgr
from benchmarks import keys, limits, measure, report
from tablemgr.cli.bench import COMMAND

from .conftest import Command


def test_bench_runs_the_benchmarks_beside_the_package(tablemgr: Command) -> None:
    """A quick run of one question ends with 0 and prints its verdicts."""
    ran = tablemgr("bench", "--quick", "--rounds", "1", "--only", "memory", "--no-save")
    assert ran.status == 0
    assert "limits reached" in ran.out


def test_the_questions_about_ordered_tables_clauses_blocks_and_files_run(tablemgr: Command) -> None:
    """With tables as small as they are asked for each of them ends with a verdict, or with a line why not."""
    questions = ("ordered_set", "ranges", "select", "bags", "atomic", "files")
    small = ("--rows", "100", "--large-rows", "2000", "--seconds", "0.001", "--rounds", "1", "--no-save")
    ran = tablemgr("bench", *small, *(f"--only={question}" for question in questions))
    assert ran.status == 0, ran.err
    for question in ("ordered set", "ranges", "select", "bags", "atomic", "files"):
        assert question in ran.out
    assert "key bound, same Clause" in ran.out
    assert "in blocks of 10" in ran.out


def test_a_question_that_nobody_asks_is_wrong_usage(tablemgr: Command) -> None:
    """Exit code 2, and the questions there are."""
    ran = tablemgr("bench", "--only", "nosuch")
    assert ran.status == 2
    assert "'nosuch'" in ran.err
    assert "handover" in ran.err


def test_an_installed_package_without_benchmarks_says_where_they_are(
    tablemgr: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 3, and `make bench` is named."""
    module = __import__("tablemgr")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site" / "tablemgr" / "__init__.py"))
    ran = tablemgr("bench")
    assert ran.status == 3
    assert "make bench" in ran.err


def test_bench_has_the_options_of_the_benchmarks() -> None:
    """What `python -m benchmarks` takes, `tablemgr bench` takes."""
    import argparse

    from benchmarks.__main__ import parser as theirs

    ours = argparse.ArgumentParser()
    COMMAND.configure(ours)
    assert {action.dest for action in ours._actions} == {action.dest for action in theirs()._actions}


def test_keys_and_values_have_the_sizes_they_are_said_to_have() -> None:
    """16 bytes and 100 bytes, different ones for different rows and versions."""
    assert keys.key(123) == "user000000000123"
    assert len(keys.value(5)) == 100
    assert keys.value(5, 1) != keys.value(5, 2)


def test_a_zipfian_choice_has_favourites_and_a_uniform_one_has_not() -> None:
    """The same seed chooses the same; favourites are not the first rows."""
    zipfian = list(keys.choose(1000, 10_000, keys.ZIPFIAN, 1))
    uniform = list(keys.choose(1000, 10_000, keys.UNIFORM, 1))
    assert zipfian == list(keys.choose(1000, 10_000, keys.ZIPFIAN, 1))
    assert max(map(zipfian.count, set(zipfian))) > 500
    assert max(map(uniform.count, set(uniform))) < 50
    assert {*zipfian, *uniform} <= set(range(1000))


def test_rounds_are_interleaved_beginning_with_another_part_each_time() -> None:
    """Every part comes once per turn."""
    assert measure.interleaved(0, "abc") == ["a", "b", "c"]
    assert measure.interleaved(4, "abc") == ["b", "c", "a"]


def test_a_timed_loop_does_whole_pieces_and_ends_when_nothing_is_left() -> None:
    """The count is that of the items that went through the body."""
    seen: list[int] = []
    done, elapsed = measure.timed(seen.extend, iter([[1, 2], [3]]), seconds=10)
    assert (done, seen) == (3, [1, 2, 3])
    assert elapsed > 0


def test_ways_of_doing_the_same_are_measured_in_turns_under_their_names() -> None:
    """Each way is prepared anew in every round and gets a figure; the limits find those they know."""
    plan = measure.Plan(10, 10, 3, 0.0, (1,), "test")
    prepared: list[str] = []

    def way(name: str) -> measure.Prepared:
        prepared.append(name)
        return (lambda piece: None), [[1]]

    figures = measure.Figures()
    names = ("in blocks of 10", "one by one")
    ways = {name: (lambda name=name: way(name)) for name in names}
    measure.contrast(plan, figures, {"question": "atomic", "what": "overwrite", "rows": 10}, ways)
    assert prepared == [*names, *reversed(names), *names]
    assert [(figure.store, len(figure.rounds)) for figure in figures.all] == [(name, 3) for name in names]
    assert [(verdict.against, verdict.limit) for verdict in limits.verdicts(figures, 10)] == [("one by one", 1.5)]


def test_verdicts_are_ratios_of_medians_against_the_limits(tmp_path: Path) -> None:
    """A figure within its limit is reached, one beyond is missed, one without a peer is left out."""
    figures = measure.Figures()
    for store, rounds in (("tablemgr", [50.0, 61.0, 60.0]), ("py-lmdb", [100.0, 101.0, 99.0])):
        for ns in rounds:
            figures.add(ns, question="single_key", what="get", store=store, rows=10, processes=1, keys=keys.ZIPFIAN)
    figures.add(1.0, question="single_key", what="overwrite", store="tablemgr", rows=10, processes=1, keys=keys.UNIFORM)
    (verdict,) = limits.verdicts(figures, 10)
    assert verdict.value == pytest.approx(0.6)
    assert verdict.reached
    stored = json.loads(report.as_json(figures, [verdict], {"command": "x"}))
    assert stored["verdicts"][0]["reached"] is True
    assert stored["figures"][0]["rounds"] == [50.0, 61.0, 60.0]
    assert tablemgr.__version__
