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
    contention,
    core_c,
    growth,
    memory,
    plot,
    repair,
    report,
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
}
QUESTIONS = (*ON_STORES, *ON_LARGE_TABLE, growth.QUESTION, core_c.QUESTION)
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
    options.add_argument("--rounds", type=int, help="rounds of every measurement (default 5)")
    options.add_argument("--no-save", action="store_true", help="print only, store nothing in benchmarks/results")


def plan_for(args: argparse.Namespace) -> Plan:
    """The extent that the options ask for."""
    tag = str(os.getpid())
    stores = tuple(args.store)
    if args.quick:
        return Plan(5_000, 50_000, args.rounds or 2, 0.03, (1, 2, 4), tag, stores)
    return Plan(100_000, LARGE_ROWS, args.rounds or 5, 0.2, (1, 2, 4), tag, stores)


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
    with Crew(max(plan.processes)) as crew:
        for rows in (plan.rows, LARGE_ROWS) if full else (plan.rows,):
            for question, run in ON_STORES.items():
                if question in questions:
                    out.print(f"measuring {question}, {rows:,} rows")
                    run(plan, figures, crew, rows)
    wanted = [question for question in ON_LARGE_TABLE if question in questions]
    if wanted:
        with large_table(plan) as name:
            for question in wanted:
                out.print(f"measuring {question}, {plan.large_rows:,} rows")
                ON_LARGE_TABLE[question](plan, figures, name, plan.large_rows)
    if growth.QUESTION in questions:
        out.print(f"measuring {growth.QUESTION}, {plan.large_rows:,} rows")
        growth.run(plan, figures, plan.large_rows)
    if core_c.QUESTION in questions:
        out.print(f"measuring {core_c.QUESTION}, {plan.large_rows:,} rows")
        remarks.append(core_c.run(plan, figures, plan.large_rows))
        out.print(remarks[-1])


if __name__ == "__main__":
    sys.exit(main())
