"""`tablemgr serve` as the tests run it: a process with a log that can be read, and what an init system gives it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tablemgr import Client

from .support import TIMEOUT, Daemon, eventually

PASS_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Service(Daemon):
    """A service of the instance, that logs JSON into a file unless it is told otherwise; ends with the test."""

    def __init__(
        self,
        instance: str,
        tmp_path: Path,
        *options: str,
        code: str = "",
        env: dict[str, str] | None = None,
        listener: socket.socket | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        waits: bool = True,
    ) -> None:
        self.log = tmp_path / "service.log"
        self.options = options if "--log-format" in options else ("--log-file", str(self.log), "--json", *options)
        self.code = code  # run in the process before
        self.env = env or {}
        self.listener = listener
        self.stdout, self.stderr = stdout, stderr
        self.waits = waits  # until it serves
        super().__init__(instance)

    def start(self) -> None:
        """Run it, and wait until it serves."""
        before = len(self.events("serving"))
        self._spawn()
        if not self.waits:
            return
        if "--log-file" in self.options:
            eventually(lambda: self.process.poll() is not None or len(self.events("serving")) > before)
            assert self.process.poll() is None, self.log.read_text()
        else:
            with_client(self.instance, lambda client: client.wait_for_manager(TIMEOUT))

    def _spawn(self) -> None:
        command = ["-c", f"{self.code}\nimport sys; from tablemgr.cli import main; sys.exit(main(sys.argv[1:]))"]
        command += ["--instance", self.instance, "serve", "--quiet", *self.options]
        descriptors = []
        if self.listener is not None:
            descriptors = [self.listener.fileno()]
            command = ["-c", PASS_SOCKET, str(descriptors[0]), *command]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **self.env},
            pass_fds=descriptors,
            stdout=self.stdout,
            stderr=self.stderr,
        )

    def failure(self) -> str:
        """The one line in which it said why it does not serve."""
        _, said = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 1
        text = said.decode()
        assert text.startswith("tablemgr: ")
        assert len(text.splitlines()) == 1
        return text

    def lines(self, path: Path | None = None) -> list[dict[str, Any]]:
        """What was logged so far."""
        path = path or self.log
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The lines of these events."""
        return [line for line in self.lines() if line["event"] in names]


def with_client(instance: str, function: Callable[[Client], Any]) -> Any:
    """Call the function with a client that leaves no connection behind."""
    client = Client(instance)
    try:
        return function(client)
    finally:
        client.close()
