"""Builds the C tests and runs them plainly, under ASan with UBSan, and under TSan; the last line has the counts.

Which program runs where: everything plainly and under ASan with UBSan (there with the segment mapped at two addresses),
and the one with threads under TSan, on one mapping, for TSan knows memory by its address. test_store_kills and
test_relink are compiled with kill_hooks.h in front of every file, so that a process can die before a store, and
test_owner_changes with load_hooks.h, so that something can happen between two loads; only plainly, for a sanitizer
would take most of the time for its start in each child.

    python tests/c/run.py [plain] [asan] [tsan]
"""

import re
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.c.toolchain import TESTS_C, Program, build, run

KILLS = TESTS_C / "kills.c"
MODEL = TESTS_C / "model.c"
SEQUENCE = TESTS_C / "sequence.c"
PROGRAMS = {
    "test_term": Program("test_term", (TESTS_C / "test_term.c",)),
    "test_sortkey": Program("test_sortkey", (TESTS_C / "test_sortkey.c",)),
    "test_match": Program("test_match", (TESTS_C / "test_match.c",)),
    "test_table": Program("test_table", (TESTS_C / "test_table.c", MODEL, SEQUENCE)),
    "test_threads": Program("test_threads", (TESTS_C / "test_threads.c", MODEL, SEQUENCE)),
    "test_lifeline": Program("test_lifeline", (TESTS_C / "test_lifeline.c",)),
    "test_store_kills": Program(
        "test_store_kills", (TESTS_C / "test_store_kills.c", KILLS, MODEL), before=TESTS_C / "kill_hooks.h"
    ),
    "test_relink": Program("test_relink", (TESTS_C / "test_relink.c", KILLS, MODEL), before=TESTS_C / "kill_hooks.h"),
    "test_owner_changes": Program(
        "test_owner_changes", (TESTS_C / "test_owner_changes.c",), before=TESTS_C / "load_hooks.h"
    ),
}
Run = tuple[str, str, tuple[str, ...]]  # mode, program, arguments
RUNS: list[Run] = [
    ("plain", "test_term", ()),
    ("plain", "test_sortkey", ()),
    ("plain", "test_match", ()),
    ("plain", "test_table", ()),
    ("plain", "test_threads", ("one", "20000")),
    ("plain", "test_threads", ("two", "20000")),
    ("plain", "test_lifeline", ()),
    ("plain", "test_store_kills", ()),
    ("plain", "test_relink", ()),
    ("plain", "test_owner_changes", ()),
    ("asan", "test_term", ()),
    ("asan", "test_sortkey", ()),
    ("asan", "test_match", ()),
    ("asan", "test_table", ()),
    ("asan", "test_lifeline", ()),
    ("asan", "test_threads", ("two", "4000")),
    ("tsan", "test_threads", ("one", "3000")),
]


def outcome(one: Run) -> tuple[bool, str]:
    """Builds and runs one program in one mode: whether it passed, and what it said."""
    mode, name, arguments = one
    try:
        done = run(build(PROGRAMS[name], mode), *arguments)
    except RuntimeError as error:
        return False, str(error)
    except subprocess.TimeoutExpired:
        return False, "it does not come to its end"
    said = (done.stdout + done.stderr).strip()
    counts = re.search(r"(\d+) passed, (\d+) failed", done.stdout)
    return done.returncode == 0 and counts is not None and counts[2] == "0", said


def main(modes: list[str]) -> int:
    """Exit code 0 if every program passed in every mode asked for, else 1."""
    passed = failed = 0
    for mode, name, arguments in RUNS:
        if modes and mode not in modes:
            continue
        good, said = outcome((mode, name, arguments))
        passed += good
        failed += not good
        print(f"{'ok' if good else 'FAILED'}: {mode} {' '.join((name, *arguments))}", flush=True)
        print("    " + said[-6000:].replace("\n", "\n    "), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
