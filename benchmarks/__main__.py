# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: all questions, or some of them; prints, stores and draws the results."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from benchmarks import (
    attach,
    batches,
    blocks,
    contention,
    core_c,
    files,
    growth,
    handover,
    memory,
    ordered,
    piles,
    plot,
    ranges,
    repair,
    report,
    respawn,
    selecting,
    single_key,
    ycsb,
)
from benchmarks.crew import Crew
from benchmarks.fleet import available, large_table
from benchmarks.limits import verdicts
from benchmarks.measure import Figures, Plan

ON_STORES: dict[str, Callable[[Plan, Figures, Crew, int], None]] = {
    single_key.QUESTION: single_key.run,
    contention.QUESTION: contention.run,
    ycsb.QUESTION: ycsb.run,
    batches.QUESTION: batches.run,
}
ON_LARGE_TABLE: dict[str, Callable[[Plan, Figures, str, int], None]] = {
    memory.QUESTION: memory.run,
    attach.QUESTION: attach.run,
    repair.QUESTION: repair.run,
    files.QUESTION: files.run,
}
ON_LARGE_STORES: dict[str, Callable[[Plan, Figures, Crew, int], None]] = {
    ordered.QUESTION: ordered.run,
    ranges.QUESTION: ranges.run,
}
BY_THEMSELVES: dict[str, Callable[[Plan, Figures, int], str]] = {
    selecting.QUESTION: selecting.run,
    piles.QUESTION: piles.run,
    blocks.QUESTION: blocks.run,
    growth.QUESTION: growth.run,
    core_c.QUESTION: core_c.run,
}
"""These return a remark, or nothing."""
ON_PROCESSES: dict[str, Callable[[Plan, Figures, int], str]] = {
    respawn.QUESTION: respawn.run,
    handover.QUESTION: handover.run,
}
"""The same. They are asked first: after all the others processes start and wake a third slower."""
SMALL = (blocks.QUESTION, respawn.QUESTION)
QUESTIONS = (*ON_STORES, *ON_LARGE_STORES, *ON_LARGE_TABLE, *BY_THEMSELVES, *ON_PROCESSES)
LARGE_ROWS = 1_000_000
WIDTH = 200


def parser() -> argparse.ArgumentParser:
    """The options; `tablemgr bench` has the same."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure tablemgr beside its peers.")
    add_arguments(options)
    return options


def add_arguments(options: argparse.ArgumentParser) -> None:
    """How much to measure."""
    extent = options.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="small tables and short rounds: does it run, not how fast")
    extent.add_argument("--full", action="store_true", help="the questions on stores with 1,000,000 rows besides")
    options.add_argument("--only", action="append", choices=QUESTIONS, help="this question; may be repeated")
    options.add_argument("--store", action="append", default=[], help="this store (and those that the question needs)")
    options.add_argument("--rounds", type=_count, metavar="N", help="rounds of every measurement (default 5)")
    options.add_argument("--rows", type=_count, metavar="N", help="rows of the small tables (default 100,000)")
    options.add_argument("--large-rows", type=_count, metavar="N", help="rows of the large tables (default 1,000,000)")
    options.add_argument("--seconds", type=_seconds, metavar="S", help="seconds of every measurement (default 0.2)")
    options.add_argument("--no-save", action="store_true", help="print only, store nothing in benchmarks/results")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return number


def plan_for(args: argparse.Namespace) -> Plan:
    """The extent that the options ask for."""
    tag = str(os.getpid())
    stores = tuple(args.store)
    rows, large_rows, rounds, seconds = (5_000, 50_000, 2, 0.03) if args.quick else (100_000, LARGE_ROWS, 5, 0.2)
    return Plan(
        args.rows or rows,
        args.large_rows or large_rows,
        args.rounds or rounds,
        args.seconds or seconds,
        (1, 2, 4),
        tag,
        stores,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run, report, store; 0 unless something could not be measured at all."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(arguments)
    os.environ.setdefault("TABLEMGR_INSTANCE", f"bench-{os.getpid()}")
    plan = plan_for(args)
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = WIDTH
    figures = Figures()
    about = {
        "command": " ".join(["python -m benchmarks", *arguments]),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": report.machine(),
        "rows": plan.rows,
        "large_rows": plan.large_rows,
        "rounds": plan.rounds,
        "seconds_per_measurement": plan.seconds,
    }
    remarks = available(plan)[1]
    for remark in remarks:
        out.print(remark)
    questions = [question for question in QUESTIONS if not args.only or question in args.only]
    measure(plan, figures, questions, full=args.full, out=out, remarks=remarks)
    reached = list(verdicts(figures, plan.rows))
    report.show(figures, reached, out)
    if not args.no_save and not args.quick:
        report.RESULTS.mkdir(exist_ok=True)
        stem = time.strftime("%Y-%m-%d-%H%M") + ("-full" if args.full else "")
        about["remarks"] = remarks
        (report.RESULTS / f"{stem}.json").write_text(report.as_json(figures, reached, about))
        out.print(f"results: {stem}.json")
        out.print(plot.draw(figures, reached, plan.rows, report.RESULTS / f"{stem}.svg"))
    return 0


def measure(
    plan: Plan, figures: Figures, questions: Sequence[str], *, full: bool, out: Console, remarks: list[str]
) -> None:
    """Ask the questions one after the other."""

    def ask(by_themselves: dict[str, Callable[[Plan, Figures, int], str]]) -> None:
        for question in (question for question in by_themselves if question in questions):
            rows = plan.rows if question in SMALL else plan.large_rows
            out.print(f"measuring {question}, {rows:,} rows")
            remark = by_themselves[question](plan, figures, rows)
            if remark:
                remarks.append(remark)
                out.print(remark)

    ask(ON_PROCESSES)
    with Crew(max(plan.processes)) as crew:
        for rows in (plan.rows, LARGE_ROWS) if full else (plan.rows,):
            for question, run in ON_STORES.items():
                if question in questions:
                    out.print(f"measuring {question}, {rows:,} rows")
                    run(plan, figures, crew, rows)
        for question, run in ON_LARGE_STORES.items():
            if question in questions:
                out.print(f"measuring {question}, {plan.large_rows:,} rows")
                run(plan, figures, crew, plan.large_rows)
    wanted = [question for question in ON_LARGE_TABLE if question in questions]
    if wanted:
        with large_table(plan) as name:
            for question in wanted:
                out.print(f"measuring {question}, {plan.large_rows:,} rows")
                ON_LARGE_TABLE[question](plan, figures, name, plan.large_rows)
    ask(BY_THEMSELVES)


if __name__ == "__main__":
    sys.exit(main())
