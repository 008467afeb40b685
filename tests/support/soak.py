# SPDX-License-Identifier: Apache-2.0
"""How long and with which seed the random tests run: briefly and always alike, or as `make soak` says."""

import os
import random
import time


def soak_minutes() -> float:
    """Minutes that `make soak` asks for; 0 in an ordinary run."""
    return float(os.environ.get("TABLEMGR_SOAK_MINUTES") or 0)


def seconds_of_storm(ordinary: float, share: float) -> float:
    """Seconds that a random test goes on: its ordinary time, or its share of the soak."""
    return soak_minutes() * 60 * share if soak_minutes() else ordinary


def seed() -> int:
    """The seed of a random test, printed: $TABLEMGR_SEED, else always the same, in a soak a fresh one."""
    given = os.environ.get("TABLEMGR_SEED")
    chosen = int(given) if given else (time.time_ns() % 2**32 if soak_minutes() else 20_000)
    print(f"TABLEMGR_SEED={chosen}")
    return chosen


def generator(salt: int = 0) -> random.Random:
    """A random generator from the seed."""
    return random.Random(seed() * 1_000_003 + salt)
