# SPDX-License-Identifier: Apache-2.0
"""For tests of the command line: an instance of their own, the command as a function, and a look at what is left."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tablemgr import Client, cli
from tablemgr.errors import ManagerUnavailableError


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """Runs `tablemgr` in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *argv: str) -> Ran:
        self._capfd.readouterr()
        status = cli.main(argv)
        said = self._capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return Ran(status, said.out, said.err)


@pytest.fixture
def instance(instance: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The test's instance, with a directory of its own for sockets; a manager that was started is stopped."""
    runtime: Path = tmp_path_factory.mktemp("run")
    runtime.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("COLUMNS", "200")
    yield instance
    with contextlib.suppress(ManagerUnavailableError):
        Client(instance, autostart=False).stop_manager()


@pytest.fixture
def tablemgr(instance: str, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line, on an instance of its own."""
    return Command(capfd)
