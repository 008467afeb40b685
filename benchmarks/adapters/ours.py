# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102  # what the methods do is said once, in Store
"""This table."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import tablemgr as tm
from benchmarks.adapters.store import Key, Operations, Store


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
    type = "set"

    @property
    def table_name(self) -> str:
        """Name of the table; tells parallel runs and types apart."""
        return f"bench.{self.tag}.{self.type}"

    def create(self) -> None:
        tm.create(self.table_name, type=self.type, access="public", heir="manager").close()

    def connect(self) -> Operations:
        table = tm.attach(self.table_name)
        insert = table.insert
        update_counter = table.update_counter
        rows_between = table.range

        def put(key: Key, value: bytes) -> None:
            insert((key, value))

        def increment(key: Key) -> None:
            update_counter(key, 1, (key, 0))

        def scan(key: Key, n: int) -> object:
            return list(rows_between(key, None, limit=n))

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
            scan=scan if self.type == "ordered_set" else None,
        )

    def destroy(self) -> None:
        with contextlib.suppress(tm.TableNotFoundError):
            tm.drop(self.table_name, force=True)


@dataclass
class OrderedTableStore(TableStore):
    """`tm.Table` of the type "ordered_set"."""

    name = "tablemgr ordered_set"
    type = "ordered_set"
