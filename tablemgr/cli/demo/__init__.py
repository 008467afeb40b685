# SPDX-License-Identifier: Apache-2.0
"""`tablemgr demo`: the main job on real input, under fire.

Every identifier of every file of the standard library is counted by several processes into one shared table, while they
and the manager are SIGKILLed. In the end the counts must be exactly those of one undisturbed process."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from tablemgr import rendezvous, segment_names, segments, table
from tablemgr.cli.answers import Answer, Done
from tablemgr.cli.command import Command
from tablemgr.cli.demo import compare, work
from tablemgr.cli.demo.fire import MANAGER_KILLS, Fire
from tablemgr.cli.demo.screen import Screen
from tablemgr.cli.demo.watchdog import Watchdog
from tablemgr.cli.exits import ExitStatus, UsageError, message_of

SHM = Path("/dev/shm")
SAMPLE_SHARE = 0.1
SAMPLE_LEAST = 20
STANDSTILL_SECONDS = 60.0
SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """`demo [--seed N] [--workers N] [--kills N] [--path DIR]`."""
    parser.add_argument("--seed", type=int, help="choice of victims and of the sample (default: another one each time)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes (default 4)")
    parser.add_argument(
        "--kills", type=int, default=20, metavar="N", help="SIGKILLs of workers (default 20); the manager gets 2 more"
    )
    parser.add_argument(
        "--path",
        type=Path,
        metavar="DIR",
        help="count this tree of Python or text files (default: the standard library)",
    )
    parser.add_argument(
        "--patience", type=float, default=STANDSTILL_SECONDS, metavar="SECONDS", help="standstill that counts as a hang"
    )


def run(args: argparse.Namespace) -> Answer:
    """Do it; the answer's exit code is 1 if the total is wrong, if anything is left over, or if it hangs."""
    if args.workers < 1 or args.kills < 0 or not args.patience > 0:
        raise UsageError("--workers is at least 1, --kills at least 0, --patience more than 0")
    root = work.standard_library() if args.path is None else args.path
    if not root.is_dir():
        raise UsageError(f"--path {str(root)!r} is not a directory")
    files = work.find_files(root)
    if not files:
        raise UsageError(f"there are no Python or text files in {str(root)!r}")
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    instance = f"demo-{os.getpid()}"
    screen = Screen(Console(stderr=args.json, highlight=False))
    before = shm_names()
    with environment() as interruption, Watchdog(args.patience, instance) as watchdog, screen:
        demo = Demo(instance, files, args.workers, args.kills, seed, screen, watchdog, interruption)
        try:
            demo.run(root)
        except Exception as error:
            demo.problems.append(message_of(error))
        finally:
            demo.clean_up()
    demo.problems += leftovers(instance, before)
    if not demo.problems:
        screen.say(f"/dev/shm is as it was: {len(before)} objects, none of them ours")
    for problem in demo.problems:
        screen.say(f"WRONG: {problem}", "bold red")
    return Answer(
        Done("the demo failed" if demo.problems else "exact, and nothing left behind", demo.facts()),
        ExitStatus.ERROR if demo.problems else ExitStatus.OK,
    )


class Interruption:
    """SIGINT and SIGTERM end the demo in order, by a KeyboardInterrupt: where it is, or where it looks.

    `check` raises it if one of them came: what the handler raises is lost where the interpreter runs its hooks around
    a fork. `held_back` leaves it to `check`: raised between two steps of a supervisor it would leave that half done."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._came = False
        self._is_held_back = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if the user wants an end."""
        if self._came:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Meanwhile only `check` raises."""
        self._is_held_back = True
        try:
            yield
        finally:
            self._is_held_back = False

    def handle(self, number: int, frame: object) -> None:
        """Of the demo's process only: a child that has just been forked dies of the signal."""
        if os.getpid() != self._pid:
            os._exit(128 + number)
        self._came = True
        if not self._is_held_back:
            raise KeyboardInterrupt


@contextlib.contextmanager
def environment() -> Iterator[Interruption]:
    """While the demo runs, no client starts a manager (the supervisor does), and SIGINT and SIGTERM end it in order."""
    before = os.environ.get("TABLEMGR_AUTOSTART")
    os.environ["TABLEMGR_AUTOSTART"] = "0"
    interruption = Interruption()
    handlers = {number: signal.signal(number, interruption.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if before is None:
            del os.environ["TABLEMGR_AUTOSTART"]
        else:
            os.environ["TABLEMGR_AUTOSTART"] = before


class Demo:
    """The parts of the demo, in order; `problems` collects what went wrong."""

    def __init__(
        self,
        instance: str,
        files: Sequence[Path],
        n_workers: int,
        n_kills: int,
        seed: int,
        screen: Screen,
        watchdog: Watchdog,
        interruption: Interruption,
    ) -> None:
        self._interruption = interruption
        self.problems: list[str] = []
        self._instance = instance
        self._files = list(files)
        self._n_workers = n_workers
        self._n_kills = n_kills
        self._seed = seed
        self._screen = screen
        self._watchdog = watchdog
        self._reference: Counter[str] = Counter()
        self._reference_seconds = 0.0
        self._fire = Fire(instance, self._files, n_workers, n_kills, seed, screen, watchdog.beat, interruption.check)
        self._ways: list[tuple[str, float, float]] = []

    def run(self, root: Path) -> None:
        """The whole show."""
        self._screen.say(
            f"{len(self._files):,} files in {root}, {self._n_workers} workers, {self._n_kills} kills of workers and "
            f"{MANAGER_KILLS} of the manager, seed {self._seed}"
        )
        self.count_alone()
        self.count_under_fire()
        if not self.problems:
            self.compare()

    def count_alone(self) -> None:
        """The reference: one process, one Counter."""
        self._screen.heading("The reference: one process with a Counter")
        self._screen.begin("counting alone", len(self._files))
        start = time.monotonic()
        for done, path in enumerate(self._files, 1):
            self._reference.update(work.count_file(path))
            if done % 20 == 0 or done == len(self._files):
                self._screen.progress(done)
                self._watchdog.beat()
        self._reference_seconds = time.monotonic() - start
        self._screen.end()
        self._screen.say(
            f"  {self._reference.total():,} identifiers, {len(self._reference):,} different ones, "
            f"{self._reference_seconds:.1f} s"
        )

    def count_under_fire(self) -> None:
        """The same by workers that are killed, into one shared table."""
        fire, screen = self._fire, self._screen
        screen.heading("Under fire: workers and the manager are killed while they count into one table")
        screen.begin("counting", len(self._files))
        shared_table = work.open_shared(self._instance, len(self._files), fire.gate)
        with shared_table as shared, self._interruption.held_back(), fire.supervisor:
            fire.run(shared)
            screen.end()
            self.problems += fire.problems
            if self.problems:
                return
            screen.say(f"  {len(fire.kills)} kills, {fire.seconds:.1f} s")
            self.judge(shared)
            screen.heading("The tables")
            screen.tables(self._instance, segments.tables(self._instance))
        self._interruption.check()

    def judge(self, shared: table.Table) -> None:
        """Compare every identifier's count with the reference, and let the table check itself."""
        counts, states, broken = work.totals(shared), work.states(shared), shared.check()
        different = sorted(
            word for word in counts.keys() | self._reference.keys() if counts[word] != self._reference[word]
        )
        for word in different[:SHOWN]:
            self.problems.append(f"{word!r} was counted {counts[word]:,} times instead of {self._reference[word]:,}")
        if len(different) > SHOWN:
            self.problems.append(f"{len(different) - SHOWN:,} more identifiers have a wrong count")
        if states != {"done": len(self._files)}:
            self.problems.append(f"files by state: {dict(states)} instead of {len(self._files):,} done")
        if len(self._fire.kills) < self._n_kills + MANAGER_KILLS:
            self.problems.append(
                f"{len(self._fire.kills)} kills were made good instead of {self._n_kills + MANAGER_KILLS}"
            )
        self.problems += [f"check: {invariant}" for invariant in broken]
        if not self.problems:
            self._screen.say(
                f"  total exact: {counts.total():,} identifiers, equal one by one; "
                f"{shared.info().repairs} repairs; check: sound"
            )
        self._screen.heading("The commonest identifiers")
        self._screen.commonest(counts)

    def compare(self) -> None:
        """What other ways take, on a sample."""
        n_sample = min(len(self._files), max(SAMPLE_LEAST, round(len(self._files) * SAMPLE_SHARE)))
        sample = random.Random(self._seed).sample(self._files, n_sample)
        n_bytes = sum(path.stat().st_size for path in sample)
        scale = sum(path.stat().st_size for path in self._files) / max(1, n_bytes)
        self._screen.heading(f"Other ways, on a sample of {n_sample:,} files ({n_bytes / 1e6:.1f} MB)")
        n = self._n_workers
        expected: Counter[str] | None = None
        ways: list[tuple[str, Callable[[], tuple[float, Counter[str]]]]] = [
            ("1 process, a dict", lambda: compare.with_dict(sample)),
            (f"{n} processes, Manager().dict()", lambda: compare.with_manager_dict(sample, n)),
            (f"{n} processes, a table", lambda: compare.with_table(sample, n, self._instance)),
        ]
        for text, way in ways:
            seconds, counts = way()
            self._watchdog.beat()
            self._ways.append((text, seconds, seconds * scale))
            expected = expected or counts
            if counts != expected:
                self.problems.append(f"{text}: the counts of the sample differ from those of one process")
        self._ways.append(
            (f"{n} processes, a table, {len(self._fire.kills)} kills", self._fire.seconds / scale, self._fire.seconds)
        )
        self._screen.comparison(self._ways)

    def clean_up(self) -> None:
        """Whatever happened: no worker, no manager and no table of ours stays."""
        with contextlib.suppress(Exception), self._interruption.held_back():
            self._fire.supervisor.stop()
        self._fire.close()
        dropped = 0
        for info in segments.tables(self._instance):
            try:
                segments.drop(info.name, instance=self._instance, force=True)
                dropped += 1
            except Exception as error:
                self.problems.append(f"table {info.name!r} could not be dropped: {message_of(error)}")
        self._screen.heading(f"{dropped} tables dropped")

    def facts(self) -> dict[str, object]:
        """The run for programs; times in seconds."""
        return {
            "ok": not self.problems,
            "problems": list(self.problems),
            "seed": self._seed,
            "files": len(self._files),
            "identifiers": self._reference.total(),
            "different_identifiers": len(self._reference),
            "reference_seconds": self._reference_seconds,
            "seconds": self._fire.seconds,
            "kills": [
                {"who": kill.who, "pid": kill.pid, "successor": kill.successor, "seconds": kill.seconds}
                for kill in self._fire.kills
            ],
            "commonest": [list(pair) for pair in self._reference.most_common(20)],
            "comparison": [
                {"way": text, "sample_seconds": sample, "scaled_seconds": scaled} for text, sample, scaled in self._ways
            ],
        }


def shm_names() -> set[str]:
    """The names in /dev/shm."""
    return set(os.listdir(SHM))


def leftovers(instance: str, before: set[str]) -> list[str]:
    """What of the demo is still there: objects in /dev/shm, or files beside the manager's socket."""
    names = {segment.lstrip("/") for _, segment in segment_names.scan(instance)}
    left = [f"/dev/shm/{name} is left over" for name in sorted((shm_names() - before) & names)]
    with contextlib.suppress(FileNotFoundError):
        directory = rendezvous.directory_path()
        own = rendezvous.file_name(instance, "")
        left += [f"{directory}/{name} is left over" for name in sorted(os.listdir(directory)) if name.startswith(own)]
    return left


COMMAND = Command(
    "demo", "count the standard library's identifiers while workers and manager are killed", configure, run
)
