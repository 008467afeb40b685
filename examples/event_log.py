"""Events of many tenants in the order of time, in one ordered_set that several processes write and query.

A row is ((tenant, second, writer), kind, size). Keys are in order, so a tenant's events lie side by side: the newest of
them are a range from its end, a tenant or a span of its time is a range too, and a pattern whose key begins with the
tenant touches that tenant's rows only. What is in no order is asked with clauses, whose guards run in C over the rows
where they lie. Retention is a clause too: it deletes while the writers write, and no event is lost or counted twice.

    python examples/event_log.py [SECONDS] [WRITERS]

has WRITERS processes (default 3) record SECONDS (default 2000) of events of each tenant, keeps the last quarter, asks
some questions and compares the numbers. Exit code 0 if every event was kept or deleted exactly once.
"""

import math
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import tablemgr as tm

TABLE = "events"
TENANTS = ("acme", "globex", "initech")
KINDS = ("view", "view", "view", "order", "error")

v1, v2 = tm.vars(2)


def record(writer: int, seconds: int) -> None:
    """A writer: one event per tenant and second."""
    events = tm.attach(TABLE)
    for second in range(seconds):
        kind = KINDS[(second + writer) % len(KINDS)]
        events.insert([((tenant, second, writer), kind, 100 + second % 50) for tenant in TENANTS])  # all or none


def newest(events: tm.Table, tenant: str, n: int) -> list[Any]:
    """The last n events of a tenant, the newest first."""
    return list(events.range((tenant,), (tenant, math.inf), reverse=True, limit=n))


def between(events: tm.Table, tenant: str, begin: float, end: float) -> Iterator[Any]:
    """The events of a tenant with begin <= second < end."""
    return events.range((tenant, begin), (tenant, end))


def sizes(events: tm.Table, tenant: str, kind: str) -> list[Any]:
    """The sizes of a tenant's events of one kind; the rows of other tenants are not looked at."""
    return [size for (size,) in events.match(((tenant, tm.ANY, tm.ANY), kind, v1))]


def forget(events: tm.Table, before: int) -> int:
    """Retention: delete what is older, each event by itself; how many there were."""
    return events.select_delete(tm.Clause(((tm.ANY, v1, tm.ANY), tm.ANY, tm.ANY), [v1 < before], True))


def pages(events: tm.Table, tenant: str, size: int) -> Iterator[list[Any]]:
    """A tenant's (second, kind) in pages; between two of them anything may happen to the table."""
    page, more = events.select(tm.Clause(((tenant, v1, tm.ANY), v2, tm.ANY), [], (v1, v2)), limit=size)
    while True:
        yield page
        if more is tm.END:
            return
        page, more = events.select(more)


def main(seconds: int = 2000, writers: int = 3) -> int:
    """Record, trim and ask; 0 if the numbers agree."""
    written, keep = seconds * writers * len(TENANTS), seconds // 4
    with tm.create(TABLE, type="ordered_set", access="public") as events:
        processes = [multiprocessing.Process(target=record, args=(writer, seconds)) for writer in range(writers)]
        for process in processes:
            process.start()
        deleted = 0
        while any(process.is_alive() for process in processes):
            last = newest(events, TENANTS[0], 1)
            deleted += forget(events, last[0][0][1] - keep if last else 0)
        for process in processes:
            process.join()
        deleted += forget(events, seconds - keep)
        print(f"{written} events written, {deleted} deleted, {len(events)} left")

        tenant = TENANTS[0]
        for (_, second, writer), kind, size in newest(events, tenant, 3):
            print(f"  {tenant} at {second} s by writer {writer}: {kind} of {size} bytes")
        print(f"{len(list(between(events, tenant, seconds - 10, seconds)))} events of {tenant} in the last 10 s")
        print(f"{sum(sizes(events, tenant, 'order'))} bytes of orders of {tenant}")
        large = events.select_count(tm.Clause((tm.ANY, "error", v1), [v1 >= 140], True))
        print(f"{large} errors of 140 bytes or more, whoever's")
        kinds = Counter(kind for page in pages(events, tenant, 100) for _, kind in page)
        print(f"{tenant} by kind: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}")
        left = len(events)
        events.drop()
    expected = keep * writers * len(TENANTS)
    return 0 if deleted + left == written and left == expected and kinds.total() * len(TENANTS) == left else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
