"""For tests with a manager: an instance and a socket directory of their own, and a look at what is left of them."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tablemgr import Client
from tablemgr.errors import ManagerUnavailableError, TableNotFoundError
from tablemgr.segment_names import scan
from tablemgr.segments import drop
from tablemgr.supervisor import family

from .supervised import Clock
from .support import Daemon, Worker


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """$XDG_RUNTIME_DIR for this test and the processes that it starts."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # its children would have this test's environment


@pytest.fixture
def instance(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh instance, the default one of this test; autostart is off. Afterwards nothing of it may be left."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("TABLEMGR_INSTANCE", name)
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "0")
    yield name
    Worker.end_all()
    Daemon.end_all()
    with contextlib.suppress(ManagerUnavailableError):
        Client(name).stop_manager()  # one that was started on demand
    for table, _ in scan(name):
        with contextlib.suppress(TableNotFoundError):
            drop(table, force=True, instance=name)
    assert not [entry for entry in os.listdir("/dev/shm") if name in entry]


@pytest.fixture
def daemon(instance: str) -> Daemon:
    """A manager of the instance, in a process of its own."""
    return Daemon(instance)


@pytest.fixture
def no_traces(runtime: Path) -> Iterator[None]:
    """Asserts that a test leaves nothing in the socket directory."""
    yield
    directory = runtime / "tablemgr"
    assert not directory.exists() or not list(directory.iterdir())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which this process's supervisors count restarts."""
    clock = Clock()
    monkeypatch.setattr(family, "time", clock)
    return clock
