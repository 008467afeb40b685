# SPDX-License-Identifier: Apache-2.0
"""What the figures must reach, and whether they do. A verdict is printed and stored, never asserted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.keys import UNIFORM, ZIPFIAN
from benchmarks.measure import Figure, Figures, percentile

OURS = "tablemgr"
ORDERED = "tablemgr ordered_set"
LMDB = "py-lmdb"
MANAGER = "Manager().dict()"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure beside its limit: `value` and `limit` are ratios to `against`, or in `unit`."""

    what: str
    against: str
    ours: float
    peer: float | None
    value: float
    limit: float
    unit: str = "x"

    @property
    def reached(self) -> bool:
        """Whether the value is within its limit."""
        return self.value <= self.limit


def verdicts(figures: Figures, rows: int) -> Iterator[Verdict]:
    """Every limit for which there are figures; `rows` is the number of rows of the small tables."""
    yield from _single(figures, rows)
    yield from _contention(figures, rows)
    yield from _ycsb(figures, rows)
    yield from _batches(figures, rows)
    yield from _against_manager(figures, rows)
    yield from _core(figures)
    yield from _large(figures)
    yield from _ordered(figures)
    yield from _selecting(figures)
    yield from _ways(figures)
    yield from _respawn(figures)
    yield from _handover(figures)


def _ratio(ours: Figure | None, peer: Figure | None, what: str, against: str, limit: float) -> Iterator[Verdict]:
    if ours is not None and peer is not None:
        yield Verdict(what, against, ours.median, peer.median, ours.median / peer.median, limit)


def _single(figures: Figures, rows: int) -> Iterator[Verdict]:
    for what, keys, limit in (
        ("get", ZIPFIAN, 0.60),
        ("get", UNIFORM, 0.80),
        ("overwrite", UNIFORM, 0.40),
        ("insert", UNIFORM, 0.25),
        ("increment", UNIFORM, 0.15),
    ):
        common = {"rows": rows, "processes": 1, "keys": keys}
        ours, peer = (figures.find("single_key", what, store, **common) for store in (OURS, LMDB))
        yield from _ratio(ours, peer, f"{what}, {keys}, 1 process", LMDB, limit)


def _contention(figures: Figures, rows: int) -> Iterator[Verdict]:
    for what in ("overwrite", "increment"):
        for keys in (UNIFORM, ZIPFIAN):
            ours, peer = (
                figures.find("contention", what, store, rows=rows, processes=2, keys=keys) for store in (OURS, LMDB)
            )
            alone = figures.find("contention", what, OURS, rows=rows, processes=1, keys=keys)
            yield from _ratio(ours, peer, f"{what}, {keys}, 2 processes", f"{LMDB}, 2 processes", 0.12)
            yield from _ratio(ours, alone, f"{what}, {keys}, 2 processes", f"{OURS}, 1 process", 1.4)
    counters = [f for f in figures.all if f.question == "contention" and f.store == OURS and "lost_counts" in f.extra]
    if counters:
        lost = float(sum(abs(f.extra["lost_counts"]) for f in counters))
        yield Verdict("increments lost or doubled", "none", lost, None, lost, 0.0, "counts")


def _ycsb(figures: Figures, rows: int) -> Iterator[Verdict]:
    for workload, limit in (("A", 0.40), ("F", 0.40), ("B", 0.75), ("C", 0.75)):
        for keys in (ZIPFIAN, UNIFORM):
            for processes in (1, 2, 4):
                common = {"rows": rows, "processes": processes, "keys": keys}
                ours, peer = (figures.find("ycsb", workload, store, **common) for store in (OURS, LMDB))
                yield from _ratio(ours, peer, f"YCSB {workload}, {keys}, {processes} process(es)", LMDB, limit)


def _batches(figures: Figures, rows: int) -> Iterator[Verdict]:
    for what, text, limit in (
        ("lookup_many", "lookup_many of 1,000 keys, per row", 0.20),
        ("insert_many", "list insert of 1,000 rows, per row", 0.20),
        ("iterate", "iterate all, per row", 0.80),
    ):
        ours, peer = (figures.find("batches", what, store, rows=rows) for store in (OURS, LMDB))
        yield from _ratio(ours, peer, text, LMDB, limit)


def _against_manager(figures: Figures, rows: int) -> Iterator[Verdict]:
    for what in ("get", "overwrite", "insert", "delete", "increment"):
        for processes in (1, 2):
            common = {"rows": rows, "processes": processes, "keys": UNIFORM}
            ours, peer = (figures.find("single_key", what, store, **common) for store in (OURS, MANAGER))
            yield from _ratio(ours, peer, f"{what}, uniform, {processes} process(es)", MANAGER, 0.02)


def _core(figures: Figures) -> Iterator[Verdict]:
    for what, limit in (("find", 2.0), ("overwrite", 3.5)):
        measured = [f for f in figures.all if f.question == "core" and f.what == what]
        ours = next((f for f in measured if f.store == OURS), None)
        peer = next((f for f in measured if f.store != OURS), None)
        yield from _ratio(ours, peer, f"core in C, {what}", "" if peer is None else peer.store, limit)


def _large(figures: Figures) -> Iterator[Verdict]:
    for what in ("used", "reserved"):
        for figure in (f for f in figures.all if f.question == "memory" and f.what == what):
            text = f"bytes {what} per row beyond key and value, {figure.rows:,} rows"
            yield Verdict(text, "", figure.median, None, figure.median, 40.0, "bytes")
    attached = [f for f in figures.all if f.question == "attach" and f.what == "attach"]
    large, empty = (next((f for f in attached if bool(f.rows) is wanted), None) for wanted in (True, False))
    if large is not None:
        yield from _ratio(large, empty, f"attach to {large.rows:,} rows", "attach to an empty table", 1.5)
    for figure in (f for f in figures.all if f.question == "growth" and f.what == "p99.99" and f.store == OURS):
        median = figures.find("growth", "median", OURS, rows=figure.rows)
        yield from _ratio(
            figure, median, f"insert while growing to {figure.rows:,} rows, p99.99", "its own median", 10.0
        )
    for figure in (f for f in figures.all if f.question == "repair" and not f.what.startswith("no death")):
        what, _, clock = figure.what.partition(", ")
        # What passed on a busy machine is also other people's time: of that the median, of CPU time the longest.
        ns = max(figure.rounds) if clock == "CPU" else figure.median
        which = "longest CPU time" if clock == "CPU" else "median time"
        text = f"write after a death in {what}, {figure.rows:,} rows, {which} of {len(figure.rounds)}"
        yield Verdict(text, "", ns, None, ns / 1e6, 1.0, "ms")


def _ordered(figures: Figures) -> Iterator[Verdict]:
    for question, what, text, limits in (
        ("ordered_set", "get", "get", {1: 1.0}),
        ("ordered_set", "insert", "insert", {1: 0.50, 2: 0.25}),
        ("ordered_set", "overwrite", "overwrite", {1: 0.50, 2: 0.25}),
        ("ranges", "scan", "range of 50 rows", {1: 0.40, 2: 0.40, 4: 0.40}),
        ("ranges", "E", "YCSB E", {1: 0.40, 2: 0.40, 4: 0.40}),
    ):
        for processes, limit in limits.items():
            ours, peer = (figures.find(question, what, store, processes=processes) for store in (ORDERED, LMDB))
            if ours is not None:
                text_with_rows = f"ordered_set, {ours.rows:,} rows: {text}, {processes} process(es)"
                yield from _ratio(ours, peer, text_with_rows, LMDB, limit)


def _selecting(figures: Figures) -> Iterator[Verdict]:
    for ours in (f for f in figures.all if f.question == "select" and f.store == OURS):
        for against, limit in (
            ("iterate and filter", 0.10),
            ("lookup", 1.3),
            ("nothing bound", 0.01),
        ):
            peer = figures.find("select", ours.what, against)
            yield from _ratio(ours, peer, f"select, {ours.rows:,} rows: {ours.what}", against, limit)


def _respawn(figures: Figures) -> Iterator[Verdict]:
    """With fork there is no interpreter's start, and the figure stands for itself."""
    for ours in (f for f in figures.all if f.question == "respawn" and f.what == "spawn" and f.store == OURS):
        bare = figures.find("respawn", ours.what, "bare process", rows=ours.rows)
        yield from _ratio(ours, bare, f"killed worker to successor with {ours.rows:,} rows", "bare process", 1.10)


def _ways(figures: Figures) -> Iterator[Verdict]:
    for question, what, way, against, limit in (
        ("bags", "duplicate_bag, insert onto a key", "with many rows", "with 1 row", 1.5),
        ("atomic", "update_counter", "in blocks of 10", "one by one", 1.5),
        ("atomic", "overwrite", "in blocks of 10", "one by one", 1.5),
        ("files", "save", OURS, "pickle", 1.0),
        ("files", "load", OURS, "pickle", 1.0),
        ("files", "save", ORDERED, "pickle", 1.0),
        ("files", "load", ORDERED, "pickle", 1.0),
    ):
        ours, peer = (figures.find(question, what, store) for store in (way, against))
        if ours is not None:
            yield from _ratio(ours, peer, f"{question}, {ours.rows:,} rows: {what}, {way}", against, limit)


def _handover(figures: Figures) -> Iterator[Verdict]:
    for figure in (f for f in figures.all if f.question == "handover"):
        if figure.what == "standby":
            late = percentile([int(ns) for ns in sorted(figure.rounds)], 0.99)
            told = figures.find("handover", "standby: the pidfd", OURS)
            of = f" (by a pidfd the kernel tells after {told.median / 1e6:.2f} ms)" if told is not None else ""
            text = "SIGKILL of an owner to the table in a standby's hands, {} of " + str(len(figure.rounds))
            yield Verdict(text.format("median") + of, "", figure.median, None, figure.median / 1e6, 1.0, "ms")
            yield Verdict(text.format("p99"), "", late, None, late / 1e6, 5.0, "ms")
        elif figure.what == "claim":
            what = "a claim of what a dead owner left, the manager being told"
            yield Verdict(what, "", figure.median, None, figure.median / 1e3, 100.0, "us")
        elif figure.what == "successor":
            text = f"a manager's successor knows {figure.rows:,} tables"
            yield Verdict(text, "", figure.median, None, figure.median / 1e6, 100.0, "ms")
        elif figure.what.startswith("idle"):
            text = f"manager, {figure.rows:,} tables, {figure.what}: CPU"
            yield Verdict(text, "", figure.median, None, figure.median * 100, 1.0, "%")
