# SPDX-License-Identifier: Apache-2.0
"""Keys, values and the choice of keys: uniform, or zipfian as YCSB has it (exponent 0.99, scrambled)."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence

VALUE_BYTES = 100
KEY_BYTES = 16
ZIPF_EXPONENT = 0.99
SCRAMBLE_SEED = 7

UNIFORM = "uniform"
ZIPFIAN = "zipfian"


def key(number: int) -> str:
    """The key of row `number`: 16 characters."""
    return f"user{number:012d}"


def value(number: int, version: int = 0) -> bytes:
    """100 bytes that tell rows and versions apart."""
    return f"{number:012d}.{version:06d}.".encode().ljust(VALUE_BYTES, b"v")


@functools.lru_cache(maxsize=4)
def _cumulative(rows: int) -> list[float]:
    return list(itertools.accumulate(1.0 / (rank**ZIPF_EXPONENT) for rank in range(1, rows + 1)))


@functools.lru_cache(maxsize=4)
def _scrambled(rows: int) -> list[int]:
    order = list(range(rows))
    random.Random(SCRAMBLE_SEED).shuffle(order)
    return order


def choose(rows: int, n: int, distribution: str, seed: int) -> Sequence[int]:
    """`n` row numbers below `rows`; in a zipfian choice the popular rows are strewn over the whole key range."""
    chooser = random.Random(seed)
    if distribution == UNIFORM:
        return chooser.choices(range(rows), k=n)
    if distribution == ZIPFIAN:
        return chooser.choices(_scrambled(rows), cum_weights=_cumulative(rows), k=n)
    raise ValueError(f"unknown distribution {distribution!r}")
