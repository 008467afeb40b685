# SPDX-License-Identifier: Apache-2.0
"""Watching other processes where there are hardly any descriptors: a live one is never taken for dead."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tablemgr import _ffi, processes
from tablemgr.manager.decisions import Identity
from tablemgr.manager.watch import Watch


@contextmanager
def one_descriptor() -> Iterator[None]:
    """In the block this process may open one, and no second one meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/", os.O_RDONLY)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    taken = [os.dup(free)]
    while taken[-1] < highest:
        taken.append(os.dup(free))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1, limits[1]))
    os.close(free)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)


def parent() -> Identity:
    """A process that lives as long as this one, and is another."""
    pid = os.getppid()
    return Identity(pid, _ffi.process_start(pid) or 0)


def test_a_pidfd_that_takes_the_last_descriptor_is_none_of_a_dead_process() -> None:
    """Whose it is cannot be looked up then: that is said, and the descriptor is closed."""
    process = parent()
    with one_descriptor():
        with pytest.raises(OSError, match="Too many open files"):
            processes.open_pidfd(*process)
        os.close(os.open("/", os.O_RDONLY))


def test_a_watch_that_is_out_of_descriptors_takes_nobody_for_dead() -> None:
    """It watches when there are some again."""
    process = parent()
    died: list[Identity] = []

    async def main() -> None:
        watch = Watch(asyncio.get_running_loop(), died.append)
        with one_descriptor():
            watch.include(process)
            await asyncio.sleep(0)
        watch.set({process})
        assert watch.is_alive(process)
        watch.close()

    asyncio.run(main())
    assert died == []
