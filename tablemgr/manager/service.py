# SPDX-License-Identifier: Apache-2.0
"""A manager as a service: with a log, an init system, metrics, and tables that are kept in files.

Each of these is a part of its own beside the server, and none of them may harm it: a part that fails is logged, and the
tables are served on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tablemgr.client import Client
from tablemgr.errors import ManagerRunningError, ManagerUnavailableError
from tablemgr.manager.embedded import Manager
from tablemgr.manager.journal import Event
from tablemgr.manager.limits import Limits
from tablemgr.manager.logs import Log
from tablemgr.manager.metrics import Address, Metrics
from tablemgr.manager.saving import Keeper, Saving
from tablemgr.manager.server import Server
from tablemgr.manager.systemd import Notifier

_REPLACE_SECONDS = 30.0
_ATTEMPTS = 5  # at being faster than clients that start one on demand


@dataclass(frozen=True, slots=True)
class Options:
    """How the service runs.

    metrics: where they are served (None: nowhere). saving: which tables are kept in files. listener: the socket, where
    the init system made it. hangup_reopens: SIGHUP reopens the log; else it ends the service, as a terminal's end does.
    """

    limits: Limits = field(default_factory=Limits)
    metrics: Address | None = None
    saving: Saving = field(default_factory=Saving)
    listener: socket.socket | None = None
    hangup_reopens: bool = False


class Service(Manager):
    """A manager that an administrator runs, by `tablemgr serve`. Like every manager it can be SIGKILLed anywhere."""

    def __init__(self, instance: str | None, options: Options, log: Log, notifier: Notifier) -> None:
        super().__init__(instance)
        self._options = options
        self._log = log
        self._notifier = notifier
        self._keeper = Keeper(self.instance, options.saving)

    def run_in_place_of_another(self, ready: Callable[[], None]) -> None:
        """Like `run`, after the manager that the instance has, if any, was made to end.

        Clients that wait in line there come over. Raises ManagerRunningError if it does not end, or if others start a
        new one each time.
        """
        for attempts_left in reversed(range(_ATTEMPTS)):
            client = Client(self.instance, autostart=False)
            with contextlib.closing(client), contextlib.suppress(ManagerUnavailableError):  # none: so much the better
                client.stop_manager(_REPLACE_SECONDS)
            try:
                self.run(ready, exiting=True)
                return
            except ManagerRunningError:
                if not attempts_left:
                    raise

    def _new_server(self) -> Server:
        return Server(
            self.instance,
            limits=self._options.limits,
            listener=self._options.listener,
            prepare=self._keeper.load,
        )

    async def _serve(self, server: Server, ready: Callable[[], None], signals_before: set[int] | None = None) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, server)
        metrics = None if self._options.metrics is None else Metrics(self._options.metrics, server, self._log)
        tasks = [asyncio.create_task(self._keeper.run(server.journal))]
        if self._notifier.watchdog_seconds is not None:
            tasks.append(asyncio.create_task(self._ping(self._notifier.watchdog_seconds)))

        def serving() -> None:
            ready()  # what it says to people comes before the line of the log
            self._notifier.ready(f"serving instance {self.instance!r}")
            where: dict[str, Any] = {} if metrics is None else {"metrics": str(metrics.address)}
            server.journal.note(Event.SERVING, instance=self.instance, pid=os.getpid(), tables=server.tables, **where)

        try:
            if metrics is not None:
                metrics.start()
            await super()._serve(server, serving, signals_before)
        finally:
            self._notifier.stopping()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if metrics is not None:
                await asyncio.to_thread(metrics.stop)
            await self._keeper.save_all(server.journal)
            server.journal.note(Event.ENDED, instance=self.instance)

    def _hang_up(self, server: Server) -> None:
        if not self._options.hangup_reopens:
            server.stop()
            return
        self._notifier.reloading()
        try:
            self._log.reopen()
        except OSError as error:
            server.journal.note(Event.REOPEN_FAILED, path=self._log.path, reason=str(error))
        else:
            server.journal.note(Event.REOPENED, path=self._log.path)
        self._notifier.ready(f"serving instance {self.instance!r}")

    async def _ping(self, seconds: float) -> None:
        """From the loop that serves: a manager that is stuck is one that the init system should replace."""
        while True:
            self._notifier.alive()
            await asyncio.sleep(seconds)
