"""State recovery: a worker that keeps its state in a table and, started again, goes on from the last good state.

The worker moves money between accounts. Its whole state, the balances and the number of the step, changes by one atomic
block per step, so whatever kills it, the table holds the state after some step: never half a step. The worker claims
the table when it starts. It is new: `populate` puts the first state in. It is there: the worker looks whether the state
makes sense, goes on if it does, and starts afresh if a bug has spoilt it.

    python examples/state_recovery.py [STEPS [KILLS]]

runs STEPS steps (default 30000) while the worker is killed KILLS times (default 3), and once made to spoil its state.
"""

import multiprocessing
import os
import random
import signal
import sys

import tablemgr as tm

TABLE = "accounts"
ACCOUNTS = 20
START = 100  # in each account


def first_state(table: tm.Table) -> None:
    """Put in what a worker begins with."""
    with table.atomic() as tx:
        tx.insert([(("balance", n), START) for n in range(ACCOUNTS)])
        tx.insert(("step", 0))


def is_good(table: tm.Table) -> bool:
    """Whether the rows are a state: money is moved, never made."""
    balances = table.select(tm.Clause((("balance", tm.ANY), tm.var(1)), body=tm.var(1)))
    return len(balances) == ACCOUNTS and sum(balances) == ACCOUNTS * START and bool(table.lookup("step"))


def open_state() -> tm.Table:
    """The table with the last good state, or a fresh one; says which."""
    table = tm.claim_table(TABLE, tm.create, populate=first_state, monitor=True)
    if not table.inherited:
        print(f"worker {os.getpid()} starts afresh", flush=True)
    elif is_good(table):
        exits = [event.exit for event in tm.events(timeout=0.2) if isinstance(event, tm.OwnerDied)]
        step = table.lookup_element("step", 1)
        print(f"worker {os.getpid()} goes on at step {step}; its predecessor ended with {exits[0]}", flush=True)
    else:
        print(f"worker {os.getpid()} finds a spoilt state and starts afresh", flush=True)
        table.delete_all()
        first_state(table)
    return table


def work(steps: int, spoil: bool) -> None:
    """A worker: step by step until all are done."""
    table = open_state()
    if spoil:
        table.update_counter(("balance", 0), 1)  # the bug
        os.kill(os.getpid(), signal.SIGKILL)
    while table.lookup_element("step", 1) < steps:
        a, b = random.sample(range(ACCOUNTS), 2)
        with table.atomic() as tx:
            tx.update_counter(("balance", a), -1)
            tx.update_counter(("balance", b), 1)
            tx.update_counter("step", 1)


def main(steps: int = 30_000, kills: int = 3) -> int:
    """Start the worker again until it has done its work, and kill it on the way."""
    context = multiprocessing.get_context("fork")
    tm.Client().new_table(
        "warm-up", heir=None
    ).drop()  # so that the manager runs, which keeps the table between workers
    for turn in range(kills + 2):
        worker = context.Process(target=work, args=(steps, turn == kills))
        goal = progress() + steps // (kills + 3)
        worker.start()
        while turn < kills and worker.is_alive() and progress() < goal:
            worker.join(0.001)
        if turn < kills:
            worker.kill()
        worker.join()
    with tm.new_table(TABLE) as table:
        print(f"step {table.lookup_element('step', 1)}, {'no money' if is_good(table) else 'money'} made or lost")
        table.drop()
    return 0


def progress() -> int:
    """At which step the worker is."""
    try:
        with tm.attach(TABLE) as table:
            return int(table.lookup_element("step", 1, 0))
    except tm.TableNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
