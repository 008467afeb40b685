# SPDX-License-Identifier: Apache-2.0
"""Figures and how they are taken: closed loops over prepared chunks, interleaved rounds, medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

CHUNK = 500

T = TypeVar("T")
Prepared = tuple[Callable[[Any], object], Iterable[Sequence[Any]]]
"""A loop body and the pieces it takes one after the other (see `timed`)."""


@dataclass
class Figure:
    """One measured quantity of one store: a value per round, smaller is better."""

    question: str
    what: str
    store: str
    rows: int
    processes: int = 1
    keys: str = ""
    unit: str = "ns"
    rounds: list[float] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Plan:
    """How much to measure: rows of the small and of the large tables, rounds, seconds per measurement."""

    rows: int
    large_rows: int
    rounds: int
    seconds: float
    processes: tuple[int, ...]
    tag: str
    stores: tuple[str, ...] = ()

    def wants(self, store: str) -> bool:
        """Whether the store was asked for; none named means all."""
        return not self.stores or store in self.stores


class Figures:
    """All figures of a run; a figure is found again by what it measures, so rounds can come in any order."""

    def __init__(self) -> None:
        self.all: list[Figure] = []

    def add(self, value: float, **identity: Any) -> Figure:
        """Add one round's value to the figure of this identity (the fields of `Figure` before `unit`, and `unit`)."""
        figure = next(
            (f for f in self.all if all(getattr(f, name) == wanted for name, wanted in identity.items())), None
        )
        if figure is None:
            figure = Figure(**identity)
            self.all.append(figure)
        figure.rounds.append(value)
        return figure

    def find(self, question: str, what: str, store: str, **more: Any) -> Figure | None:
        """The first figure that answers the description, or None."""
        wanted = {"question": question, "what": what, "store": store, **more}
        return next((f for f in self.all if all(getattr(f, name) == value for name, value in wanted.items())), None)


def chunks(items: Sequence[Any], chunk: int = CHUNK) -> Iterator[Sequence[Any]]:
    """The items in pieces of `chunk`, over and over again."""
    pieces = [items[at : at + chunk] for at in range(0, len(items), chunk)]
    while True:
        yield from pieces


def timed(body: Callable[[Any], object], pieces: Iterable[Sequence[Any]], seconds: float) -> tuple[int, int]:
    """Run `body` on one piece after the other until `seconds` are over or nothing is left.

    Returns:
        the number of items done and the nanoseconds this took. The garbage collector is off meanwhile."""
    done = 0
    budget = int(seconds * 1e9)
    clock = time.perf_counter_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        elapsed = 0
        for piece in pieces:
            body(piece)
            done += len(piece)
            elapsed = clock() - start
            if elapsed > budget:
                break
    finally:
        if collecting:
            gc.enable()
    return done, elapsed


def interleaved(turn: int, parts: Sequence[T]) -> list[T]:
    """Every part once, in each turn beginning with another one, so that drift hits all of them alike."""
    shift = turn % max(1, len(parts))
    return [*parts[shift:], *parts[:shift]]


def contrast(
    plan: Plan, figures: Figures, identity: Mapping[str, Any], ways: Mapping[str, Callable[[], Prepared]]
) -> None:
    """Do the same in several ways in this process, interleaved, and add a figure for each under the way's name.

    A way is prepared anew in each round; what it does is timed."""
    for turn in range(plan.rounds):
        for way in interleaved(turn, list(ways)):
            body, pieces = ways[way]()
            done, elapsed = timed(body, pieces, plan.seconds)
            figures.add(elapsed / max(1, done), store=way, **identity)


def percentile(values: Sequence[int], share: float) -> int:
    """The value below which `share` (0 to 1) of the sorted values lie."""
    return values[min(len(values) - 1, int(len(values) * share))]
