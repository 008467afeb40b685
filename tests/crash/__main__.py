"""Kills a process after every machine instruction that makes a difference, and its repairer likewise: `make crash`.

The work is done by a C program, for one case after the other, on each processor one; this compiles it and adds up.
Options that are not listed here are the C program's (below). `--case split --k 500 --next insert --j 30` is one kill
of a writer and one of the repair after it: that is the line a failure prints. Readers that are stopped at each of their
instructions are another program's, whose options these are: --read, --script, --stops, --seed.
"""

import argparse
import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.c.toolchain import TESTS_C, Program, build

FOLDER = Path(__file__).resolve().parent
PROGRAM = Program(
    "crash",
    (*sorted(FOLDER.glob("*.c")), TESTS_C / "model.c", TESTS_C / "sequence.c"),
    (FOLDER,),
)
READERS = Program(
    "readers",
    (
        *sorted((FOLDER / "slow").glob("*.c")),
        *(FOLDER / name for name in ("options.c", "tracer.c", "scratch.c")),
        TESTS_C / "model.c",
        TESTS_C / "sequence.c",
    ),
    (FOLDER, FOLDER / "slow"),
)
COUNTS = (
    "changes",
    "skipped",
    "kills",
    "repair_kills",
    "alike",
    "joined",
    "passed",
    "states",
    "reads",
    "stops",
    "busy",
    "astray",
    "failures",
)
STOPS_OF_A_READ = 1500


def cases(executable: Path) -> list[str]:
    """The names of all cases."""
    return subprocess.run([str(executable), "--list"], capture_output=True, text=True, check=True).stdout.split()


def summary(output: str) -> dict[str, int] | None:
    """The counts of a case's closing line; None if it never came to that line."""
    for line in output.splitlines():
        if line.startswith("case="):
            fields = dict(re.findall(r"(\w+)=(\d+)", line))
            return {name: int(fields[name]) for name in COUNTS}
    return None


class Total:
    """What all cases came to; printed as they end."""

    def __init__(self, n_cases: int) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.failed: list[str] = []
        self.n_cases = n_cases
        self.n_done = 0
        self.lock = threading.Lock()
        self.begin = time.monotonic()

    def add(self, name: str, output: str, code: int) -> None:
        """A case has ended, with this output and exit code."""
        with self.lock:
            self.n_done += 1
            counts = summary(output)
            for key, value in (counts or {}).items():
                self.counts[key] += value
            if code != 0 or counts is None:
                self.failed.append(name)
            kills = self.counts["kills"] + self.counts["repair_kills"]
            print(f"[{self.n_done}/{self.n_cases}] {kills:,} kills so far | {output.strip()}", flush=True)
            if code != 0 and counts is None:
                print(f"case={name} ended with {code}", flush=True)

    def print(self, covers_all: bool) -> None:
        """The sum of all, and what it covers."""
        n = self.counts
        print(
            f"{n['kills'] + n['repair_kills']:,} kills ({n['kills']:,} of the operation, {n['repair_kills']:,} of what "
            f"followed a death) left {n['states']:,} different states, all verified; {n['reads']:,} times a reader "
            f"looked between two instructions, {n['stops']:,} SIGSTOPs; {time.monotonic() - self.begin:.0f} s"
        )
        if covers_all:
            print(
                f"Covered: in each case every instruction, and of {n['changes']:,} changes of shared memory, names and "
                f"lock lists each that left something new, but for {n['skipped']:,} in later rounds of loops (after "
                f"the first 64 and a sample of 60). What followed {n['alike']:,} of the deaths did exactly what "
                f"it had done after another one, and what followed {n['joined']:,} came to do so: there it was not "
                f"killed again. It was not looked at for {n['passed']:,} in rounds of loops that had gone alike before."
            )
        else:
            print("A sample, or a part: run without --kills, --repairs, --case, --k to cover all.")
        print(f"{self.n_cases - len(self.failed)} cases passed, {len(self.failed)} failed", *self.failed)


def work(todo: "queue.SimpleQueue[str | None]", executable: Path, arguments: list[str], total: Total) -> None:
    """Runs cases until there are no more."""
    while (name := todo.get()) is not None:
        done = subprocess.run(
            [str(executable), "--case", name, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        total.add(name, done.stdout, done.returncode)


def kill(executable: Path, names: list[str], arguments: list[str], workers: int, covers_all: bool) -> list[str]:
    """Runs these cases and prints what they came to; returns those that failed."""
    total = Total(len(names))
    todo: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for name in names:
        todo.put(name)
    threads = []
    processors = sorted(os.sched_getaffinity(0))
    for i in range(workers):
        todo.put(None)
        on = [*arguments, f"--cpu={processors[i % len(processors)]}"]
        threads.append(threading.Thread(target=work, args=(todo, executable, on, total)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    total.print(covers_all)
    return total.failed


def read_slowly(arguments: list[str]) -> bool:
    """Readers stopped after each of their instructions while others write; True if they saw nothing that was not so."""
    return subprocess.run([str(build(READERS)), *arguments], check=False).returncode == 0


def main() -> int:
    """Exit code 0 if every case passed, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=subprocess.run([str(build(PROGRAM)), "--help"], capture_output=True, text=True, check=True).stdout,
        allow_abbrev=False,
    )
    parser.add_argument("--case", action="append", help="only this case (repeatable)")
    parser.add_argument("--read", help="only stopped readers: this read, or all")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options, arguments = parser.parse_known_args()
    if options.read:
        return 0 if read_slowly([f"--read={options.read}", *arguments]) else 1
    executable = build(PROGRAM)
    if "--list" in arguments:
        print(*cases(executable), sep="\n")
        return 0
    is_part = any(argument.startswith(("--kills", "--repairs", "--k", "--next")) for argument in arguments)
    names = options.case or cases(executable)
    failed = kill(executable, names, arguments, options.workers, not is_part and not options.case)
    if not options.case and not read_slowly([*arguments, f"--stops={STOPS_OF_A_READ}"]):
        failed.append("readers")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
