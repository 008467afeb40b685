"""A seeded sample of the kills that `make crash` makes: each case, some instructions of the write and the repair."""

import platform
import re
from pathlib import Path

import pytest

from tests.c.toolchain import build, run
from tests.crash.__main__ import PROGRAM, READERS, cases, summary

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the tracer is written for x86-64")

KILLS_PER_CASE = 40
REPAIR_KILLS_PER_CASE = 30
STOPS_PER_CASE = 2
SEED = 1
# What their steps cost, and what others of the sample stand for as well: killed by `make crash` only.
NOT_SAMPLED = {
    "ordered_overwrite_smaller",
    "ordered_update_with_default",
    "ordered_merge_advances_epoch",
    "ordered_delete_many",
    "ordered_slab_given_back",
    "ordered_apply_bulk",
    "ordered_apply_bulk_aborts",
    "ordered_write_after_larger_delete_all",
    "ordered_full_at_row",
    "ordered_full_apply",
    "ordered_create",
    "bag_insert_large",
    "bag_delete_with_trash",
    "bag_delete_object_only",
    "bag_replace_deletes_all",
    "bag_apply_one_stripe",
    "bag_apply_bulk",
    "bag_delete_all",
    "bag_write_after_delete_all",
    "bag_evacuation",
    "bag_create",
    "check_after_split",
    "check_after_apply",
    "check_after_delete_all",
    "check_after_leaf_split",
    "pass_on_kept",
    "note_end_to_heir",
    "setopts_access",
}


@pytest.fixture(scope="session")
def executable() -> Path:
    return build(PROGRAM)


def case_names() -> list[str]:
    """From the table in cases.c, so that pytest can collect without a compiler."""
    text = (Path(__file__).parent / "cases.c").read_text(encoding="utf-8")
    rows = text.split("crash_cases[] = {")[1].split("\n};")[0].splitlines()
    return [row.split('"')[1] for row in rows if '"' in row]


def read_names() -> list[str]:
    """From the table in readers.c, likewise."""
    text = (Path(__file__).parent / "slow" / "readers.c").read_text(encoding="utf-8")
    return re.findall(r'\{"(\w+)"', text.split("} readings[] = {")[1].split("};")[0])


def sampled_names() -> list[str]:
    """Those that are killed here."""
    return [name for name in case_names() if name not in NOT_SAMPLED]


@pytest.mark.parametrize("name", sampled_names())
def test_a_killed_writer_leaves_the_table_before_or_after_its_write(executable: Path, name: str) -> None:
    """Killed at sampled instructions of a write and of the repair: whole or absent, sound, and usable as before."""
    arguments = [f"--seed={SEED}", f"--kills={KILLS_PER_CASE}", f"--repairs={REPAIR_KILLS_PER_CASE}"]
    arguments += [f"--stops={STOPS_PER_CASE}", "--watch=11"]
    done = run(executable, f"--case={name}", *arguments, timeout=120)
    counts = summary(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts is not None
    assert counts["failures"] == 0
    assert counts["kills"] >= KILLS_PER_CASE // 2  # places picked twice are killed at once
    assert counts["repair_kills"] >= REPAIR_KILLS_PER_CASE // 2
    assert counts["reads"] > 0


def test_the_sample_has_500_kills_and_every_case(executable: Path) -> None:
    """The tests above make at least 500 kills, and leave no case of the program out but those that are named."""
    assert case_names() == cases(executable)
    assert set(case_names()) >= NOT_SAMPLED
    assert len(sampled_names()) * KILLS_PER_CASE >= 500


def test_a_writer_that_repairs_is_killed_too(executable: Path) -> None:
    """After a death in the middle of a write, the next writer dies at each sampled instruction of the repair."""
    arguments = ["--case=overwrite_larger", f"--seed={SEED}", "--kills=60", "--repairs=100", "--stops=0"]
    done = run(executable, *arguments, timeout=120)
    counts = summary(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts is not None
    assert counts["repair_kills"] >= 100


@pytest.mark.parametrize("name", ["give_away", "rename"])
def test_whatever_follows_a_death_in_a_tables_life_is_killed_too(executable: Path, name: str) -> None:
    """A claim, a create, a drop... after a death is killed at sampled instructions, then made to its end by a third."""
    arguments = [f"--seed={SEED + 1}", "--kills=8", "--repairs=120", "--stops=0", "--watch=50"]
    done = run(executable, f"--case={name}", *arguments, timeout=120)
    counts = summary(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts is not None
    assert counts["repair_kills"] >= 60


@pytest.mark.parametrize("name", read_names())
def test_a_reader_stopped_anywhere_sees_what_was_so(name: str) -> None:
    """A read stopped at sampled instructions while others write gives sound rows, misses none, and none twice."""
    done = run(build(READERS), f"--read={name}", f"--seed={SEED}", "--stops=6", timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("failures=0") == done.stdout.count("read=") > 0


def test_a_key_that_comes_back_while_its_bucket_is_read_is_seen_once() -> None:
    """Deleted and inserted again it stands in another slot: who has read the first reads the bucket anew."""
    arguments = [f"--seed={SEED}", "--read=bucket", "--script=come_back", "--stops=3000"]
    done = run(build(READERS), *arguments, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failures=0" in done.stdout
