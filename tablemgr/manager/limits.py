# SPDX-License-Identifier: Apache-2.0
"""What one client, and all of them together, may ask of a manager.

The limits keep one program that runs wild from taking the manager away from the others. They are no protection from a
hostile process of the same user, which could as well kill the manager.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

from tablemgr import protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """Who meets one is refused with a message that names it; the others are served on.

    clients: connections in all. process_clients: connections of one process. message_bytes: of one request, newline
    included. queue_bytes: answers that a client has not read; beyond them it is cut off, because there is no way left
    to tell it why. The system's buffer is that queue, so the number is approximate, and nothing of it is in the
    manager's memory. requests_per_second: of one process, connecting included, as many at once (0: any number).

    Raises ValueError, with the name of the limit, for a number with which no client could be served.
    """

    clients: int = 4096
    process_clients: int = 256
    message_bytes: int = protocol.MESSAGE_MAX
    queue_bytes: int = 1 << 17
    requests_per_second: int = 20_000

    def __post_init__(self) -> None:
        least = {"clients": 1, "process_clients": 1, "message_bytes": 1024, "queue_bytes": protocol.MESSAGE_MAX}
        for name, low in {**least, "requests_per_second": 0}.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ValueError(f"the limit {name} must be a whole number from {low} up, not {value!r}")
        if self.message_bytes > protocol.MESSAGE_MAX:
            raise ValueError(f"the limit message_bytes must not be over the protocol's own, {protocol.MESSAGE_MAX}")


def raise_descriptor_limit() -> None:
    """To what the system permits this process: each client and each owner takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Rates:
    """How many requests each process may still make at this moment: a bucket that fills up at the permitted rate.

    It is kept by process and not by connection, and outlives the connections until it is full again: closing and
    opening them gains nothing.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._buckets: dict[int, tuple[float, float]] = {}  # pid: what was left, and when that was

    def allow(self, pid: int, now: float) -> bool:
        """Whether the process may make a request at this time (seconds of any clock that only goes forward)."""
        if not self._per_second:
            return True
        left = self._left(pid, now)
        if left < 1.0:
            self._buckets[pid] = (left, now)
            return False
        self._buckets[pid] = (left - 1.0, now)
        return True

    def forget(self, now: float) -> None:
        """Drop what need not be known any more: the buckets that are full."""
        full = [pid for pid in self._buckets if self._left(pid, now) >= self._per_second]
        for pid in full:
            del self._buckets[pid]

    def _left(self, pid: int, now: float) -> float:
        left, before = self._buckets.get(pid, (float(self._per_second), now))
        return min(float(self._per_second), left + (now - before) * self._per_second)
