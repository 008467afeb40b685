# SPDX-License-Identifier: Apache-2.0
"""The results as people read them (`rich` tables) and as programs do (JSON, with the command and the machine)."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from benchmarks.adapters import ORDERED_STORES, STORES
from benchmarks.limits import LMDB, OURS, Verdict
from benchmarks.measure import Figure, Figures

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("tablemgr", "lmdb", "diskcache", "redis")


def machine() -> dict[str, Any]:
    """What the figures were taken on: enough to judge them, nothing that names the machine."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "redis-server": _first_line(["redis-server", "--version"]),
        "commit": _first_line(["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _first_line(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().partition("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return ""


def as_json(figures: Figures, verdicts: Sequence[Verdict], about: dict[str, Any]) -> str:
    """The whole run: what it was, every round of every figure, every verdict."""
    document = {
        **about,
        "verdicts": [{**dataclasses.asdict(verdict), "reached": verdict.reached} for verdict in verdicts],
        "figures": [{**dataclasses.asdict(figure), "median": figure.median} for figure in figures.all],
    }
    return json.dumps(document, indent=1) + "\n"


def verdict_grid(verdicts: Iterable[Verdict]) -> Grid:
    """The table of limits, in their order."""
    grid = Grid(title="Against the limits", box=None, header_style="bold", pad_edge=False)
    grid.add_column("figure")
    grid.add_column("against")
    grid.add_column("ours", justify="right")
    grid.add_column("theirs", justify="right")
    grid.add_column("value", justify="right")
    grid.add_column("limit", justify="right")
    grid.add_column("")
    for verdict in verdicts:
        timed = verdict.unit in ("x", "ms")
        grid.add_row(
            verdict.what,
            verdict.against,
            time_text(verdict.ours) if timed else f"{verdict.ours:.1f}",
            "" if verdict.peer is None else time_text(verdict.peer),
            f"{verdict.value:.3f} {verdict.unit}",
            f"{verdict.limit:g} {verdict.unit}",
            "[green]reached[/]" if verdict.reached else "[red]missed[/]",
        )
    return grid


def question_grids(figures: Figures) -> Iterable[Grid]:
    """For each question a grid: what was measured down, the stores across, time and ratio to py-lmdb (else to ours)."""
    order = [kind.name for kind in (*ORDERED_STORES, *STORES)]
    for question in dict.fromkeys(figure.question for figure in figures.all):
        asked = [figure for figure in figures.all if figure.question == question]
        stores = sorted({f.store for f in asked}, key=lambda name: order.index(name) if name in order else len(order))
        grid = Grid(title=question.replace("_", " "), box=None, header_style="bold", pad_edge=False)
        grid.add_column("")
        for store in stores:
            grid.add_column(store, justify="right")
        for line in dict.fromkeys(_line(figure) for figure in asked):
            found = {f.store: f for f in asked if _line(f) == line}
            base = found.get(LMDB) or found.get(OURS)
            grid.add_row(line, *(_cell(found.get(store), base) for store in stores))
        yield grid


def _line(figure: Figure) -> str:
    parts = [figure.what, figure.keys, f"{figure.rows:,} rows"]
    if figure.question in ("single_key", "ycsb", "contention", "ordered_set", "ranges"):
        parts.append(f"{figure.processes} proc")
    return ", ".join(filter(None, parts))


def _cell(figure: Figure | None, base: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.unit != "ns":
        return f"{figure.median:.1f} {figure.unit}"
    text = time_text(figure.median)
    if base is None or base is figure:
        return text
    return f"{text} ({figure.median / base.median:.2f}x)"


def time_text(ns: float) -> str:
    """Nanoseconds in the unit that suits them."""
    if ns < 10_000:
        return f"{ns:,.0f} ns"
    return f"{ns / 1000:,.1f} us" if ns < 10_000_000 else f"{ns / 1e6:,.1f} ms"


def show(figures: Figures, verdicts: Sequence[Verdict], out: Console) -> None:
    """Print everything."""
    for grid in question_grids(figures):
        out.print(grid)
        out.print()
    out.print(verdict_grid(verdicts))
    missed = [verdict for verdict in verdicts if not verdict.reached]
    out.print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} limits reached")
