"""Many workers want many tables while they and their manager are SIGKILLed at random: `torture`, in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tablemgr import rendezvous
from tests.support.soak import seed, soak_minutes

SAMPLE, WHOLE = (40, 12, 4), (200, 50, 60)  # workers, tables, seconds


@pytest.mark.timeout(600)
def test_everybody_is_killed_at_random(instance: str, runtime: Path) -> None:
    """One owner at any time, no acknowledged write lost, no orphan, process or file left; the manager does not grow.

    The last is seen at a manager that nobody kills while its clients die.
    """
    workers, tables, seconds = WHOLE if soak_minutes() else SAMPLE
    command = [sys.executable, "-m", "tests.manager.torture", f"--seed={seed()}"]
    command += [f"--workers={workers}", f"--tables={tables}", f"--seconds={seconds}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    figures = json.loads(done.stdout)
    assert figures["problems"] == []
    assert figures["workers killed"] >= workers
    assert figures["managers killed"] >= 1
    assert sum(figures["ownerships"].values()) > tables
    before, after = figures["manager before"], figures["manager after"]
    assert after["descriptors"] == before["descriptors"]
    assert after["KiB"] - before["KiB"] < 1024
    assert not [entry for entry in os.listdir("/dev/shm") if instance in entry]
    rendezvous.remove_leftovers(instance)  # the lock of who was killed while it started a manager
    assert list((runtime / "tablemgr").iterdir()) == []
