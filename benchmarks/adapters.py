# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102  # what the methods do is said once, in Store
"""Every store behind one interface, each used in the quickest way its documentation offers.

A `Store` is made once by the process that measures; it pickles, and `connect()` gives any process its own operations on
it. The operations are plain callables, so that a measured loop pays for one call and no method look-up."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import pickle
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from typing import Any

import tablemgr as tm

SHM = "/dev/shm"
MAP_BYTES = 8 << 30
REDIS_START_SECONDS = 10.0

Key = Any
Pairs = Sequence[tuple[Key, bytes]]


@dataclass(frozen=True, slots=True)
class Operations:
    """What one process can do with a store. Keys are str or bytes as the store likes them (see `Store.key`).

    `insert` is given keys that are not in the store, `put` keys that are; `increment` is atomic wherever the store can
    be shared; `lookup_many`, `insert_many` and `items` are one batch each, the fastest the store has."""

    get: Callable[[Key], object]
    put: Callable[[Key, bytes], object]
    insert: Callable[[Key, bytes], object]
    delete: Callable[[Key], object]
    increment: Callable[[Key], object]
    count: Callable[[Key], int]
    lookup_many: Callable[[Sequence[Key]], object]
    insert_many: Callable[[Pairs], object]
    items: Callable[[], Iterator[object]]
    close: Callable[[], object]


class Store(ABC):
    """One store under test. `tag` tells parallel runs and tables of several sizes apart."""

    tag: str
    name: str
    shared = True
    """Whether several processes can use it."""

    @abstractmethod
    def create(self) -> None:
        """Make the empty store; with the process that does so it lives and is destroyed."""

    @abstractmethod
    def connect(self) -> Operations:
        """This process's operations on the store."""

    @abstractmethod
    def destroy(self) -> None:
        """Leave nothing behind."""

    def key(self, text: str) -> Key:
        """A key in the form that the store takes without converting it."""
        return text

    @classmethod
    def missing(cls) -> str:
        """Why this store cannot be measured here; empty if it can."""
        return ""


def importable(module: str) -> str:
    """Empty if the module is installed, else a line that says that it is not."""
    return "" if importlib.util.find_spec(module) else f"the package {module} is not installed"


# -- this table -------------------------------------------------------------------------------------------------------


@dataclass
class SharedDictStore(Store):
    """`tm.SharedDict`."""

    tag: str
    name = "tablemgr"

    @property
    def table_name(self) -> str:
        """Name of the table; tells parallel runs apart."""
        return f"bench.{self.tag}.dict"

    def create(self) -> None:
        tm.SharedDict(self.table_name).table.close()

    def connect(self) -> Operations:
        shared: tm.SharedDict[str, Any] = tm.SharedDict(self.table_name)
        table = shared.table
        return Operations(
            get=shared.__getitem__,
            put=shared.__setitem__,
            insert=shared.__setitem__,
            delete=shared.__delitem__,
            increment=shared.increment,
            count=lambda key: int(shared.get(key, 0)),
            lookup_many=table.lookup_many,
            insert_many=lambda pairs: table.insert(list(pairs)),
            items=lambda: iter(shared.items()),
            close=table.close,
        )

    def destroy(self) -> None:
        with contextlib.suppress(tm.TableNotFoundError):
            tm.drop(self.table_name, force=True)


@dataclass
class TableStore(Store):
    """`tm.Table`: rows instead of key and value, a lookup gives a list of rows."""

    tag: str
    name = "tablemgr Table"

    @property
    def table_name(self) -> str:
        """Name of the table; tells parallel runs apart."""
        return f"bench.{self.tag}.table"

    def create(self) -> None:
        tm.create(self.table_name, access="public", heir="manager").close()

    def connect(self) -> Operations:
        table = tm.attach(self.table_name)
        insert = table.insert
        update_counter = table.update_counter

        def put(key: Key, value: bytes) -> None:
            insert((key, value))

        def increment(key: Key) -> None:
            update_counter(key, 1, (key, 0))

        return Operations(
            get=table.lookup,
            put=put,
            insert=put,
            delete=table.delete,
            increment=increment,
            count=lambda key: int(table.lookup_element(key, 1, 0)),
            lookup_many=table.lookup_many,
            insert_many=lambda pairs: insert(list(pairs)),
            items=lambda: iter(table),
            close=table.close,
        )

    def destroy(self) -> None:
        with contextlib.suppress(tm.TableNotFoundError):
            tm.drop(self.table_name, force=True)


# -- in one process ---------------------------------------------------------------------------------------------------


@dataclass
class DictStore(Store):
    """A plain dict: what sharing costs is measured against it."""

    tag: str
    name = "dict"
    shared = False

    def create(self) -> None:
        """Nothing: it comes into being with the connection."""

    def connect(self) -> Operations:
        content: dict[Key, Any] = {}

        def increment(key: Key) -> None:
            content[key] = content.get(key, 0) + 1

        return Operations(
            get=content.__getitem__,
            put=content.__setitem__,
            insert=content.__setitem__,
            delete=content.__delitem__,
            increment=increment,
            count=lambda key: int(content.get(key, 0)),
            lookup_many=lambda keys: [content[key] for key in keys],
            insert_many=content.update,
            items=lambda: iter(content.items()),
            close=lambda: None,
        )

    def destroy(self) -> None:
        """Nothing: it goes with the connection."""


@dataclass
class PickledDictStore(Store):
    """A dict of pickles: what a store that copies its values cannot do without."""

    tag: str
    name = "dict+pickle"
    shared = False

    def create(self) -> None:
        """Nothing: it comes into being with the connection."""

    def connect(self) -> Operations:
        dumps, loads = pickle.dumps, pickle.loads
        content: dict[Key, bytes] = {}

        def get(key: Key) -> object:
            return loads(content[key])

        def put(key: Key, value: object) -> None:
            content[key] = dumps(value, 5)

        def increment(key: Key) -> None:
            content[key] = dumps((loads(content[key]) if key in content else 0) + 1, 5)

        return Operations(
            get=get,
            put=put,
            insert=put,
            delete=content.__delitem__,
            increment=increment,
            count=lambda key: int(loads(content[key])) if key in content else 0,
            lookup_many=lambda keys: [loads(content[key]) for key in keys],
            insert_many=lambda pairs: content.update((key, dumps(value, 5)) for key, value in pairs),
            items=lambda: ((key, loads(value)) for key, value in content.items()),
            close=lambda: None,
        )

    def destroy(self) -> None:
        """Nothing: it goes with the connection."""


# -- served by a process ----------------------------------------------------------------------------------------------


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


# -- files on /dev/shm ------------------------------------------------------------------------------------------------


@dataclass
class LmdbStore(Store):
    """py-lmdb on /dev/shm, sync off, writemap; one transaction per single-key operation, ended explicitly, which is
    quicker than `with`; keys are bytes already, so the encoding is not charged to it. `lookup_many` is a loop in one
    transaction, which is quicker than `getmulti` when the keys come in random order."""

    tag: str
    directory: str = ""
    name = "py-lmdb"

    @classmethod
    def missing(cls) -> str:
        return importable("lmdb")

    def key(self, text: str) -> Key:
        return text.encode()

    def create(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="tablemgr-bench-lmdb-", dir=SHM)

    def connect(self) -> Operations:
        lmdb = importlib.import_module("lmdb")
        environment = lmdb.open(self.directory, map_size=MAP_BYTES, sync=False, metasync=False, writemap=True)
        begin = environment.begin

        def get(key: bytes) -> object:
            transaction = begin()
            value = transaction.get(key)
            transaction.abort()
            return value

        def put(key: bytes, value: bytes) -> None:
            transaction = begin(None, None, True)
            transaction.put(key, value)
            transaction.commit()

        def delete(key: bytes) -> None:
            transaction = begin(None, None, True)
            transaction.delete(key)
            transaction.commit()

        def increment(key: bytes) -> None:
            transaction = begin(None, None, True)
            transaction.put(key, b"%d" % (int(transaction.get(key, b"0")) + 1))
            transaction.commit()

        def lookup_many(keys: Sequence[bytes]) -> object:
            transaction = begin()
            fetch = transaction.get
            rows = [fetch(key) for key in keys]
            transaction.abort()
            return rows

        def insert_many(pairs: Pairs) -> None:
            with begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(pairs)

        return Operations(
            get=get,
            put=put,
            insert=put,
            delete=delete,
            increment=increment,
            count=lambda key: int(get(key) or 0),  # type: ignore[call-overload]
            lookup_many=lookup_many,
            insert_many=insert_many,
            items=lambda: iter(begin().cursor()),
            close=environment.close,
        )

    def destroy(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass
class DiskcacheStore(Store):
    """diskcache on /dev/shm, eviction off."""

    tag: str
    directory: str = ""
    name = "diskcache"

    @classmethod
    def missing(cls) -> str:
        return importable("diskcache")

    def create(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="tablemgr-bench-diskcache-", dir=SHM)

    def connect(self) -> Operations:
        cache = importlib.import_module("diskcache").Cache(
            self.directory, eviction_policy="none", sqlite_synchronous=0, size_limit=MAP_BYTES
        )

        def insert_many(pairs: Pairs) -> None:
            with cache.transact():
                for key, value in pairs:
                    cache[key] = value

        return Operations(
            get=cache.__getitem__,
            put=cache.__setitem__,
            insert=cache.__setitem__,
            delete=cache.__delitem__,
            increment=cache.incr,
            count=lambda key: int(cache.get(key, 0)),
            lookup_many=lambda keys: [cache[key] for key in keys],
            insert_many=insert_many,
            items=lambda: ((key, cache[key]) for key in cache),
            close=cache.close,
        )

    def destroy(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


STORES: tuple[type[Store], ...] = (
    SharedDictStore,
    TableStore,
    LmdbStore,
    DictStore,
    PickledDictStore,
    ManagerDictStore,
    RedisStore,
    DiskcacheStore,
)
