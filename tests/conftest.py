# SPDX-License-Identifier: Apache-2.0
"""For every test: an instance of its own, and a look at what is left of it in /dev/shm."""

import contextlib
import os
import signal
import uuid
from collections.abc import Iterator

import hypothesis
import pytest

from tablemgr import segment_names, segments, table as tables
from tablemgr.errors import AccessError, CorruptTableError, TableMismatchError, TableNotFoundError
from tests.support.soak import soak_minutes

# "repeatable" draws the same operations in every run; "soak" draws fresh ones and prints how to draw them again.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile(
    "soak", hypothesis.settings.get_profile("repeatable"), derandomize=False, max_examples=2000
)
hypothesis.settings.load_profile("soak" if soak_minutes() else "repeatable")

# A shell that runs the tests in the background has them ignore it, and their children would do so, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh instance, the default one of this test and its children; nothing of it may be left afterwards.

    Tables that the test leaves are checked, broken invariants fail it, and dropped. What cannot be attached is dropped.
    """
    name = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("TABLEMGR_INSTANCE", name)
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "0")
    yield name
    left = [table for table, _ in segment_names.scan(name)]
    try:
        broken = {table: problems for table in left if (problems := _check(table, name))}
    finally:
        for table in left:
            with contextlib.suppress(TableNotFoundError):
                segments.drop(table, force=True, instance=name)
    assert not broken
    assert not [entry for entry in os.listdir("/dev/shm") if name in entry]


def _check(table: str, instance: str) -> list[str]:
    with contextlib.suppress(TableNotFoundError, CorruptTableError, AccessError):  # a dead child's may be private
        for codec in ("msgpack", "pickle"):
            try:
                with tables.attach(table, codec=codec, instance=instance) as attached:
                    return attached.check()
            except TableMismatchError:
                continue
    return []
