"""The programs under examples/ run, do what they say, and leave nothing behind."""

import http.client
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr import Client

from .support import TIMEOUT

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    """Run an example to its end; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert not tm.tables()
    return done.stdout


def test_the_counter_service_loses_no_count_and_counts_none_twice(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its worker killed again and again; it starts its manager by itself."""
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    output = run("counter_service.py", "400", "3")
    assert output.count("its successor had the table after") == 3
    summary = re.search(r"(\d+) requests, 3 kills, counter at (\d+)\n$", output)
    assert summary is not None
    assert int(summary[1]) == int(summary[2]) >= 400
    Client().stop_manager()


def test_the_pool_shares_its_cache(instance: str) -> None:
    """Every number is found or computed, and the counts are exact."""
    output = run("pool_cache.py", "3000", "3")
    found = re.search(r"(\d+) found the rest cached, (\d+) did not", output)
    assert found is not None
    assert sum(map(int, found.groups())) == 3000
    assert int(found[1]) > 2000
    assert "2919 takes 216 steps" in output


def test_the_event_log_forgets_what_is_old_and_nothing_else(instance: str) -> None:
    """While others write; ranges, prefixes, clauses and pages agree with what was written."""
    output = run("event_log.py", "400", "2")
    assert output.startswith("2400 events written, 1800 deleted, 600 left\n")
    assert "  acme at 399 s by writer 1: view of 149 bytes\n" in output
    assert "20 events of acme in the last 10 s" in output
    orders = sum(100 + second % 50 for second in range(300, 400) for writer in range(2) if (second + writer) % 5 == 3)
    assert f"{orders} bytes of orders of acme" in output
    errors = sum(second % 50 >= 40 for second in range(300, 400) for writer in range(2) if (second + writer) % 5 == 4)
    assert f"{errors * 3} errors of 140 bytes or more" in output
    assert "acme by kind: 40 error, 40 order, 120 view" in output


def test_a_worker_goes_on_from_its_last_good_state(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed it goes on, spoilt it begins afresh; money is never made or lost."""
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    lines = run("state_recovery.py", "30000", "2").splitlines()
    assert [re.sub(r"\d+", "N", line) for line in lines] == [
        "worker N starts afresh",
        "worker N goes on at step N; its predecessor ended with -N",
        "worker N goes on at step N; its predecessor ended with -N",
        "worker N finds a spoilt state and starts afresh",
        "step N, no money made or lost",
    ]
    assert lines[-1].startswith("step 30000,")
    Client().stop_manager()


def test_the_rate_limit_holds_over_all_workers(instance: str) -> None:
    """As many requests pass as there are tokens, whoever answers; a killed worker is replaced and changes nothing."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "rate_limiter.py"), "0"],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        started = [process.stdout.readline() for _ in range(4)]
        begun = time.monotonic()
        answers = Counter(get(port) for _ in range(15))
        os.kill(int(re.findall(r"pid=(\d+)", started[0])[0]), signal.SIGKILL)
        assert "ChildExited(name='worker 0'" in process.stdout.readline()
        assert "ChildStarted(name='worker 0'" in process.stdout.readline()
        answers += Counter(get(port) for _ in range(15))
        earned = time.monotonic() - begun
        assert 10 <= answers[200] <= 10 + int(earned) + 1
        assert answers[200] + answers[429] == 30
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0
    assert not tm.tables()


def test_a_bucket_gives_as_many_tokens_as_it_has_earned(instance: str) -> None:
    """By the clock: a burst up to the limit, then one per refill, never more than the limit saved up."""
    take_token = runpy.run_path(str(EXAMPLES / "rate_limiter.py"))["take_token"]
    with tm.create("rate-limits") as table:
        assert [take_token(table, "a", 100.0, limit=2, refill=10.0) for _ in range(3)] == [None, None, 10.0]
        assert take_token(table, "b", 100.0, limit=2, refill=10.0) is None
        assert take_token(table, "a", 109.0, limit=2, refill=10.0) == 1.0
        assert take_token(table, "a", 110.0, limit=2, refill=10.0) is None
        assert [take_token(table, "a", 500.0, limit=2, refill=10.0) for _ in range(3)] == [None, None, 10.0]


def get(port: int) -> int:
    """One request on a connection of its own; the status."""
    connection = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()
