"""Damaged segments: every call on them returns a status, and check names what is broken (fuzz.c does the work)."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.c.toolchain import ROOT, TESTS_C, Program, build, run

FOLDER = Path(__file__).resolve().parent
CRASH = ROOT / "tests" / "crash"
PROGRAM = Program("fuzz", (FOLDER / "fuzz.c", CRASH / "scratch.c", TESTS_C / "model.c"), (CRASH,))
SEED = 1


@pytest.fixture(scope="session")
def executable() -> Path:
    return build(PROGRAM)


def fuzz(executable: Path, *arguments: object) -> dict[str, int]:
    """Runs one mode of the fuzzer; the counts of its last line."""
    done = run(executable, *map(str, arguments), timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}


def regions(executable: Path, *options: str) -> dict[str, tuple[int, int]]:
    """Name of each part of the prepared segment, and its first and last byte."""
    command = [str(executable), *options, "layout", str(SEED)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: (int(first), int(last)) for name, first, last in (line.split() for line in lines.splitlines())}


@pytest.mark.parametrize(
    ("region", "step", "kinds"),
    [
        ("control", 1, 8),
        ("records", 16, 2),
        ("stripes", 1, 8),
        ("log0", 1, 9),
        ("map0", 1, 3),
        ("links0", 1, 3),
        ("used0", 3, 2),
        ("map1", 2, 1),
        ("used1", 40, 1),
        ("blocks0", 251, 2),
    ],
)
def test_a_changed_word_crashes_nobody(executable: Path, region: str, step: int, kinds: int) -> None:
    """Words of each region are changed in several ways: reading, walking, writing and check return, none is stuck."""
    first, last = regions(executable)[region]
    counts = fuzz(executable, "words", first, last, step, kinds, SEED)
    assert counts["cases"] > 0
    assert counts["findings"] == 0


@pytest.mark.parametrize(("region", "step", "kinds"), [("stripes", 2, 4)])
def test_a_changed_word_of_an_ordered_set_crashes_nobody(executable: Path, region: str, step: int, kinds: int) -> None:
    """As above: what an ordered_set has in its stripe."""
    first, last = regions(executable, "ordered")[region]
    counts = fuzz(executable, "ordered", "words", first, last, step, kinds, SEED)
    assert counts["cases"] > 0
    assert counts["findings"] == 0


@pytest.mark.parametrize("options", [("leftover",), ("leftover", "ordered")])
def test_a_changed_word_of_a_log_with_a_record_left_crashes_nobody(executable: Path, options: tuple[str, ...]) -> None:
    """The words of the log itself, and those of the stripe that it hangs on."""
    of = regions(executable, *options)
    for region, step, kinds in (("log0", 1, 9), ("stripes", 2, 4)):
        first, last = of[region]
        counts = fuzz(executable, *options, "words", first, last, step, kinds, SEED)
        assert counts["cases"] > 0
        assert counts["findings"] == 0


def test_several_changed_words_crash_nobody(executable: Path) -> None:
    """One to eight words anywhere are changed at once, most of them words in use."""
    counts = fuzz(executable, "samples", 3000, SEED)
    assert counts["findings"] == 0


def test_a_truncated_segment_is_refused(executable: Path) -> None:
    """Cut off at any length that could matter, empty too: attach refuses, and touches nothing beyond the end."""
    counts = fuzz(executable, "lengths", SEED)
    assert counts["findings"] == 0
    assert counts["refused"] > 0


def test_what_is_no_table_is_refused(executable: Path) -> None:
    """Random bytes, text, or a sound first page over garbage are refused or reported."""
    counts = fuzz(executable, "foreign", 400, SEED)
    assert counts["findings"] == 0
    assert counts["silent"] == 0
