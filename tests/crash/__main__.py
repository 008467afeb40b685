"""Kills a writer after every machine instruction of every write operation, and its repairer likewise: `make crash`.

The work is done by a C program (main.c beside this file says how); this compiles it, runs it for one case after the
other in two processes, and adds up. `python -m tests.crash --case split --k 500 --j 30` is one kill of a writer and
one of the repair after it; that is the line a failure prints.
"""

import argparse
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
    (*sorted(FOLDER.glob("*.c")), TESTS_C / "model.c"),
    (FOLDER,),
)
READERS = Program(
    "readers",
    (FOLDER / "slow" / "readers.c", FOLDER / "tracer.c", FOLDER / "scratch.c", TESTS_C / "model.c"),
    (FOLDER,),
)
COUNTS = ("kills", "repair_kills", "states", "reads", "stops", "busy", "astray", "failures")


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

    def add(self, name: str, output: str, code: int) -> None:
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


def read_slowly(options: argparse.Namespace) -> bool:
    """Readers stopped after each of their instructions while others write; True if they saw nothing that was not so."""
    arguments = [str(options.seed), str(options.reads), options.read, options.script]
    arguments += [str(options.k)] if options.k is not None else []
    return subprocess.run([str(build(READERS)), *arguments], check=False).returncode == 0


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


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--case", action="append", help="only this case (repeatable)")
    parser.add_argument("--seed", type=int, default=1, help="of the prepared tables and of every sample")
    parser.add_argument("--kills", type=int, default=0, help="at most so many kills of the writer per case; 0: all")
    parser.add_argument("--repairs", type=int, default=20000, help="at most so many of the repair per case; 0: all")
    parser.add_argument("--stops", type=int, default=40, help="so many SIGSTOPs per case")
    parser.add_argument("--watch", type=int, default=1, help="the reader looks after every so many instructions")
    parser.add_argument("--failures", type=int, default=5, help="a case ends after so many")
    parser.add_argument("--k", type=int, help="only the kill after k instructions")
    parser.add_argument("--j", type=int, help="and only the kill of the repair after j")
    parser.add_argument("--read", help="only stopped readers: this read, or all")
    parser.add_argument("--script", default="all", help="only this script of writes beside the stopped reader")
    parser.add_argument("--reads", type=int, default=1500, help="about so many stops per read and script; 0: all")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def main() -> int:
    """Exit code 0 if every case passed, else 1."""
    options = parse()
    begin = time.monotonic()
    if options.read:
        return 0 if read_slowly(options) else 1
    executable = build(PROGRAM)
    names = options.case or cases(executable)
    arguments = [
        f"--{name}={getattr(options, name)}" for name in ("seed", "kills", "repairs", "stops", "watch", "failures")
    ]
    arguments += [f"--{name}={getattr(options, name)}" for name in ("k", "j") if getattr(options, name) is not None]
    total = Total(len(names))
    todo: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for name in names:
        todo.put(name)
    workers = []
    for i in range(options.workers):
        todo.put(None)
        workers.append(threading.Thread(target=work, args=(todo, executable, [*arguments, f"--cpu={i}"], total)))
        workers[-1].start()
    for worker in workers:
        worker.join()
    counts = total.counts
    print(
        f"{counts['kills'] + counts['repair_kills']:,} kills ({counts['kills']:,} of writers, "
        f"{counts['repair_kills']:,} of writers that repaired) left {counts['states']:,} states, all verified; "
        f"{counts['reads']:,} reads beside a stopped writer, {counts['stops']:,} SIGSTOPs; "
        f"{time.monotonic() - begin:.0f} s"
    )
    print(f"{len(names) - len(total.failed)} cases passed, {len(total.failed)} failed", *total.failed)
    if not options.case:
        options.read = "all"
        if not read_slowly(options):
            total.failed.append("readers")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
