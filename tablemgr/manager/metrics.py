# SPDX-License-Identifier: Apache-2.0
"""The manager in figures, for Prometheus: what the tables hold and what has happened, over HTTP on this machine.

The format and the HTTP answer are prometheus_client's, which is an optional dependency, the sockets the standard
library's. A scrape is answered in a thread of its own and reads the tables as `tablemgr list` does, so it needs nothing
of the loop that serves the clients. One scrape at a time, and each has `_SECONDS` to say what it wants.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import socketserver
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from tablemgr import segments
from tablemgr.manager.journal import Event

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from tablemgr.manager.logs import Log
    from tablemgr.manager.server import Server

_SECONDS = 5.0
_POLL_SECONDS = 0.05  # how soon the end is noticed

_COUNTED = (
    (Event.CLAIM, "tablemgr_claims", "Requests to own a table."),
    (Event.DEATH, "tablemgr_owner_deaths", "Processes that ended while they owned tables."),
    (Event.INHERITED, "tablemgr_inherited", "Tables that the manager took over from dead owners."),
    (Event.GIVEN, "tablemgr_transfers", "Tables that the manager handed to a claimant."),
    (Event.CONNECTED, "tablemgr_connections", "Clients that were greeted."),
    (Event.REFUSED, "tablemgr_refusals", "Requests and connections that were refused."),
    (Event.CUT_OFF, "tablemgr_cut_off", "Clients that were cut off because they did not read."),
    (Event.ROUND_FAILED, "tablemgr_round_failures", "Looks at all tables that met an error."),
    (Event.SAVED, "tablemgr_saves", "Tables written to their files."),
    (Event.SAVE_FAILED, "tablemgr_save_failures", "Tables that could not be written to their files."),
    (Event.LOAD_FAILED, "tablemgr_load_failures", "Files that could not be made into tables at the start."),
)


class MissingError(Exception):
    """prometheus_client is not installed; the message says how to install it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where metrics are served: a path of a Unix socket, or a loopback host and a port (0: any that is free)."""

    path: str | None
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From "unix:PATH", "PORT" or "HOST:PORT". Raises ValueError, also for a host that others can reach."""
        if text.startswith("unix:"):
            if not text.startswith("unix:/"):
                raise ValueError(f"the path of a socket must be absolute: unix:/PATH, not {text!r}")
            return cls(text.removeprefix("unix:"), "", 0)
        host, _, port = text.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        if host == "localhost":
            host = "127.0.0.1"
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise ValueError(f"an address for metrics is unix:/PATH, PORT or HOST:PORT, not {text!r}")
        try:
            is_loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise ValueError(
                f"metrics are served on this machine only, not on {host!r}: they are for whoever asks. Use 127.0.0.1, "
                "::1 or unix:/PATH, and a proxy that knows whom to let in"
            )
        return cls(None, host, int(port))

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return (
            f"http://[{self.host}]:{self.port}/metrics"
            if ":" in self.host
            else f"http://{self.host}:{self.port}/metrics"
        )


def check_installed() -> None:
    """Raise MissingError unless metrics can be served here."""
    try:
        import prometheus_client  # noqa: F401  # asked for, not used
    except ImportError:
        raise MissingError("metrics need the package prometheus_client: pip install 'tablemgr[metrics]'") from None


class Metrics:
    """Serves the metrics of one manager from `start` to `stop`; bound when it is made. Raises OSError, MissingError."""

    def __init__(self, address: Address, server: Server, log: Log) -> None:
        check_installed()
        from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

        registry = CollectorRegistry()
        registry.register(_Collector(server, log))
        ProcessCollector(registry=registry)
        family = (
            socket.AF_UNIX if address.path is not None else socket.AF_INET6 if ":" in address.host else socket.AF_INET
        )
        kind = type("_Server", (_HttpServer,), {"address_family": family})
        if address.path is None:
            self._server: _HttpServer = kind((address.host, address.port), _Handler)
            self.address = Address(None, address.host, self._server.socket.getsockname()[1])
        else:
            _make_way(address.path)
            self._server = kind(address.path, _Handler)
            os.chmod(address.path, 0o660)
            self.address = address
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="tablemgr metrics", daemon=True
        )

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; waits for a scrape that is under way."""
        self._server.shutdown()
        self._server.server_close()
        if self.address.path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address.path)


class _HttpServer(WSGIServer):
    """The standard library's, on any family of sockets, and without asking DNS for its own name."""

    def server_bind(self) -> None:
        """Bind; names are for the WSGI environment, which needs some."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        """A connection; the peers of Unix sockets have no address, which the handler would look at."""
        connection, address = super().get_request()
        return connection, address or ("local", 0)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Question and answer, in `_SECONDS` together: the handler's own timeout is one of each piece."""
        timer = threading.Timer(_SECONDS, _cut_off, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().finish_request(request, client_address)
        finally:
            timer.cancel()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who scrapes and does not listen to the answer is nobody's trouble but its own."""


def _cut_off(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = _SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """The log is for what happens to tables."""


class _Collector:
    """The figures as they are when somebody asks."""

    def __init__(self, server: Server, log: Log) -> None:
        self._server = server
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        server = self._server
        yield InfoMetricFamily("tablemgr", "The manager.", {"instance": server.instance, "pid": str(os.getpid())})
        yield GaugeMetricFamily("tablemgr_uptime_seconds", "Since the manager's start.", time.time() - server.since)
        yield GaugeMetricFamily("tablemgr_clients", "Connections.", server.clients)
        yield GaugeMetricFamily("tablemgr_waiting", "Processes that stand in line for a table.", server.waiting)
        for event, name, text in _COUNTED:
            yield CounterMetricFamily(name, text, server.journal.counts[event])
        yield CounterMetricFamily("tablemgr_log_lines_lost", "Lines that the log was too slow for.", self._log.lost)
        tables = segments.tables(server.instance)
        states = GaugeMetricFamily("tablemgr_tables", "Tables, by what is the case with their owner.", labels=["state"])
        found = Counter(_state(info) for info in tables)
        for state in ("owned", "kept", "orphan", "closed", "damaged"):
            states.add_metric([state], found[state])
        yield states
        owners = {info.owner for info in tables if _state(info) == "owned"}
        yield GaugeMetricFamily("tablemgr_owners", "Live processes that own tables.", len(owners))
        rows, used, reserved, repairs = (
            sum(getattr(info, what) for info in tables) for what in ("rows", "bytes_used", "bytes_reserved", "repairs")
        )
        yield GaugeMetricFamily("tablemgr_rows", "Rows of all tables.", rows)
        yield GaugeMetricFamily("tablemgr_used_bytes", "Rows and their index, of all tables.", used)
        yield GaugeMetricFamily("tablemgr_reserved_bytes", "Memory that the segments of all tables hold.", reserved)
        # a sum over the tables that there are: it falls when one of them goes, so it is no counter
        yield GaugeMetricFamily("tablemgr_repairs", "Repairs that the tables there are have had after deaths.", repairs)


def _state(info: segments.TableInfo) -> str:
    if info.damaged is not None or info.owner is None:
        return "closed" if not info.type and info.uid != os.geteuid() else "damaged"
    return "kept" if info.kept and info.owner.alive else "orphan" if info.orphan else "owned"


def _make_way(path: str) -> None:
    """Remove a socket that is left under the path. Raises OSError for what is no socket, or is listened on."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is something else than a socket", path)
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
        raise OSError(errno.EADDRINUSE, "somebody listens there", path)
