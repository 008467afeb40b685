# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102  # what the methods do is said once, in Store
"""Stores in files, which are on /dev/shm."""

from __future__ import annotations

import importlib
import itertools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.adapters.store import Key, Operations, Pairs, Store, importable

SHM = "/dev/shm"
MAP_BYTES = 8 << 30


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

        def scan(key: bytes, n: int) -> object:
            transaction = begin()
            cursor = transaction.cursor()
            cursor.set_range(key)
            rows = list(itertools.islice(cursor.iternext(), n))
            transaction.abort()
            return rows

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
            scan=scan,
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
