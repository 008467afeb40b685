# SPDX-License-Identifier: Apache-2.0
"""The results as a picture: time per operation of every store, and every figure beside its limit."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.adapters import STORES, importable
from benchmarks.keys import UNIFORM, ZIPFIAN
from benchmarks.limits import Verdict
from benchmarks.measure import Figures

OPERATIONS = (
    ("single_key", "get", ZIPFIAN, "get"),
    ("single_key", "overwrite", UNIFORM, "overwrite"),
    ("single_key", "insert", UNIFORM, "insert"),
    ("single_key", "delete", UNIFORM, "delete"),
    ("single_key", "increment", UNIFORM, "increment"),
    ("batches", "lookup_many", "", "lookup 1,000\n(per row)"),
    ("batches", "insert_many", "", "insert 1,000\n(per row)"),
    ("batches", "iterate", "", "iterate\n(per row)"),
)


def draw(figures: Figures, verdicts: Sequence[Verdict], rows: int, path: Path) -> str:
    """Write the picture (SVG); returns a line that says what was done, or why not."""
    missing = importable("matplotlib")
    if missing:
        return f"plot: skipped, {missing}"
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tablemgr"
    pyplot = importlib.import_module("matplotlib.pyplot")
    ratios = [verdict for verdict in verdicts if verdict.unit == "x"]
    canvas, (left, right) = pyplot.subplots(1, 2, figsize=(16, max(6.0, 0.22 * len(ratios))), width_ratios=(3, 2))
    width = 0.8 / len(STORES)
    for at, kind in enumerate(STORES):
        places, heights = [], []
        for position, (question, what, keys, _) in enumerate(OPERATIONS):
            figure = figures.find(question, what, kind.name, rows=rows, processes=1, keys=keys)
            if figure is not None:
                places.append(position + at * width)
                heights.append(figure.median)
        if places:
            left.bar(places, heights, width, label=kind.name)
    left.set_yscale("log")
    left.set_ylabel("nanoseconds per operation, 1 process (log)")
    left.set_xticks([at + 0.4 for at in range(len(OPERATIONS))], [text for *_, text in OPERATIONS], fontsize="small")
    left.set_title(f"Time per operation, {rows:,} rows, 100-byte values")
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize="small")
    lines = range(len(ratios))
    shares = [verdict.value / verdict.limit for verdict in ratios]
    right.barh(lines, shares, color=["tab:green" if verdict.reached else "tab:red" for verdict in ratios])
    right.axvline(1.0, color="black", linewidth=1)
    right.set_yticks(lines, [f"{verdict.what} / {verdict.against}" for verdict in ratios], fontsize="x-small")
    right.invert_yaxis()
    right.set_xscale("log")
    right.set_title("Share of the limit used (left of the line: reached)")
    canvas.tight_layout()
    canvas.savefig(path, metadata={"Date": None})
    pyplot.close(canvas)
    return f"plot: {path.name}"
