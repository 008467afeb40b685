"""A cache that all workers of a `multiprocessing.Pool` share: what one has computed, none computes again.

The cache is a `SharedDict`, found by name in every worker; it needs no manager and no extra process, and a worker that
is killed in the middle of a write leaves it whole. Workers also count hits and misses; `increment` loses no count,
however many count at once.

    python examples/pool_cache.py [NUMBERS] [WORKERS]

computes the length of the Collatz sequence of every number from 1 to NUMBERS (default 20000) in WORKERS processes
(default 4), each looking the rest of the sequence up as soon as anybody knows it. Exit code 0 if the longest is right.
"""

import multiprocessing
import sys
import time

import tablemgr as tm

CACHE = "collatz"
STATISTICS = "collatz-statistics"


cache: tm.SharedDict[int, int]
statistics: tm.SharedDict[str, int]


def attach() -> None:
    """In each worker, once: open cache and statistics by name."""
    global cache, statistics
    cache, statistics = tm.SharedDict(CACHE), tm.SharedDict(STATISTICS)


def length(number: int) -> int:
    """Steps of the Collatz sequence from number to 1; what it learns on the way goes into the cache."""
    way, n = [], number
    known: int | None = 0 if n == 1 else cache.get(n)
    while known is None:
        way.append(n)
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        known = 0 if n == 1 else cache.get(n)
    statistics.increment("hit" if n != 1 else "miss")
    for steps, passed in enumerate(reversed(way), known + 1):
        cache[passed] = steps
    return known + len(way)


def main(numbers: int = 20_000, workers: int = 4) -> int:
    """Compute, print what the cache was good for, and check the result without it; 0 if it is right."""
    with tm.SharedDict(CACHE).table as table, tm.SharedDict(STATISTICS).table as counts:
        begun = time.perf_counter()
        with multiprocessing.Pool(workers, attach) as pool:
            lengths = pool.map(length, range(1, numbers + 1), chunksize=256)
        seconds = time.perf_counter() - begun
        hits, misses = (counts.lookup_element(key, 1, 0) for key in ("hit", "miss"))
        best = max(range(numbers), key=lengths.__getitem__) + 1
        print(f"{numbers} numbers by {workers} processes in {seconds:.2f} s")
        print(f"{hits} found the rest cached, {misses} did not")
        print(f"{best} takes {lengths[best - 1]} steps; the cache has {len(table)} entries")
        exact = hits + misses == numbers and lengths[best - 1] == steps_without_cache(best)
        table.drop()
        counts.drop()
    return 0 if exact else 1


def steps_without_cache(number: int) -> int:
    """The definition."""
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
