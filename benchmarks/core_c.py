# SPDX-License-Identifier: Apache-2.0
"""What does the core cost without Python? The core in C against a fast hash map in C++ (see core/core_bench.cpp)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.measure import Figures, Plan
from tablemgr import _build, segment_names

QUESTION = "core"
ROOT = Path(__file__).resolve().parent.parent
CXX_FLAGS = ["-O2", "-std=c++17", "-pthread", "-DNDEBUG"]


def run(plan: Plan, figures: Figures, rows: int) -> str:
    """Build, run, read the figures. Returns why it was left out, or which hash map it was measured against."""
    cc, cxx = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
    if not shutil.which(cc.split()[0]) or not shutil.which(cxx.split()[0]):
        return "core in C: skipped, it needs a C and a C++ compiler"
    with tempfile.TemporaryDirectory(prefix="tablemgr-bench-core-") as directory:
        program = build(cc, cxx, Path(directory))
        segment = segment_names.segment_name(f"bench.{plan.tag}", "core")
        ran = subprocess.run(
            [str(program), str(rows), str(plan.rounds), segment], capture_output=True, text=True, check=False
        )
    if ran.returncode:
        return f"core in C: failed: {ran.stderr.strip()}"
    peers = set()
    for line in ran.stdout.splitlines():
        store, what, ns = line.split("\t")
        figures.add(float(ns), question=QUESTION, what=what, store=store, rows=rows)
        if store != "tablemgr":
            peers.add(store)
    return f"core in C: measured against {', '.join(sorted(peers))}"


def build(cc: str, cxx: str, directory: Path) -> Path:
    """Compile the core as the package is compiled, and the program; returns the program's path."""
    objects = []
    for source in sorted((ROOT / "csrc").glob("*.c")):
        if source.name != "codec.c":  # the one file that knows Python
            target = directory / f"{source.stem}.o"
            subprocess.run([*cc.split(), *_build.COMPILE_ARGS, "-c", str(source), "-o", str(target)], check=True)
            objects.append(str(target))
    program = directory / "core_bench"
    absl = _absl_flags()
    source = ROOT / "benchmarks" / "core" / "core_bench.cpp"
    command = [*cxx.split(), *CXX_FLAGS, f"-I{ROOT / 'csrc'}", *absl[:1], str(source), *objects, *absl[1:]]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def _absl_flags() -> list[str]:
    if shutil.which("pkg-config"):
        asked = subprocess.run(
            ["pkg-config", "--libs", "absl_flat_hash_map"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            return ["-DHAVE_ABSL", *asked.stdout.split()]
    return []
