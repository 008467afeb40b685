# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102  # what the methods do is said once, in Store
"""Stores that a process serves: every operation is a round trip."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from typing import Any

from benchmarks.adapters.store import Key, Operations, Store, importable

REDIS_START_SECONDS = 10.0


@dataclass
class ManagerDictStore(Store):
    """`multiprocessing.Manager().dict()`; an increment takes a `Manager().Lock()`, the only way to make it atomic."""

    tag: str
    proxy: Any = None
    lock: Any = None
    name = "Manager().dict()"

    def create(self) -> None:
        global _server
        _server = multiprocessing.get_context("spawn").Manager()
        self.proxy, self.lock = _server.dict(), _server.Lock()

    def connect(self) -> Operations:
        proxy, lock = self.proxy, self.lock

        def increment(key: Key) -> None:
            with lock:
                proxy[key] = proxy.get(key, 0) + 1

        return Operations(
            get=proxy.__getitem__,
            put=proxy.__setitem__,
            insert=proxy.__setitem__,
            delete=proxy.__delitem__,
            increment=increment,
            count=lambda key: int(proxy.get(key, 0)),
            lookup_many=lambda keys: [proxy[key] for key in keys],
            insert_many=lambda pairs: proxy.update(list(pairs)),
            items=lambda: iter(proxy.items()),
            close=lambda: None,
        )

    def destroy(self) -> None:
        global _server
        if _server is not None:
            _server.shutdown()
            _server = None


_server: SyncManager | None = None


@dataclass
class RedisStore(Store):
    """Redis over a Unix socket, persistence off, in a directory of its own."""

    tag: str
    directory: str = ""
    pid: int = 0
    name = "Redis (Unix socket)"

    @classmethod
    def missing(cls) -> str:
        return importable("redis") or ("" if shutil.which("redis-server") else "redis-server is not installed")

    def key(self, text: str) -> Key:
        return text.encode()

    def create(self) -> None:
        global _redis_server
        self.directory = tempfile.mkdtemp(prefix="tablemgr-bench-redis-")
        socket = os.path.join(self.directory, "socket")
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", self.directory]
        _redis_server = subprocess.Popen(
            ["redis-server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = _redis_server.pid
        redis = importlib.import_module("redis")
        deadline = time.monotonic() + REDIS_START_SECONDS
        while True:
            try:
                redis.Redis(unix_socket_path=socket).ping()
                return
            except redis.exceptions.ConnectionError:
                if time.monotonic() > deadline or _redis_server.poll() is not None:
                    raise
                time.sleep(0.02)

    def connect(self) -> Operations:
        client = importlib.import_module("redis").Redis(unix_socket_path=os.path.join(self.directory, "socket"))
        return Operations(
            get=client.get,
            put=client.set,
            insert=client.set,
            delete=client.delete,
            increment=client.incr,
            count=lambda key: int(client.get(key) or 0),
            lookup_many=client.mget,
            insert_many=lambda pairs: client.mset(dict(pairs)),
            items=lambda: _redis_items(client),
            close=client.close,
        )

    def destroy(self) -> None:
        global _redis_server
        if _redis_server is not None:
            _redis_server.kill()
            _redis_server.wait()
            _redis_server = None
        shutil.rmtree(self.directory, ignore_errors=True)


_redis_server: subprocess.Popen[bytes] | None = None


def _redis_items(client: Any) -> Iterator[object]:
    cursor = -1
    while cursor:
        cursor, keys = client.scan(max(cursor, 0), count=1000)
        yield from zip(keys, client.mget(keys), strict=True)
