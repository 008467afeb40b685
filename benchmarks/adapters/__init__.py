# SPDX-License-Identifier: Apache-2.0
"""Every store behind one interface, each used in the quickest way its documentation offers.

A `Store` is made once by the process that measures; it pickles, and `connect()` gives any process its own operations on
it. The operations are plain callables, so that a measured loop pays for one call and no method look-up."""

from benchmarks.adapters.dicts import DictStore, PickledDictStore
from benchmarks.adapters.files import DiskcacheStore, LmdbStore
from benchmarks.adapters.ours import OrderedTableStore, SharedDictStore, TableStore
from benchmarks.adapters.served import ManagerDictStore, RedisStore
from benchmarks.adapters.store import Key, Operations, Pairs, Store, importable

__all__ = [
    "ORDERED_STORES",
    "STORES",
    "DictStore",
    "DiskcacheStore",
    "Key",
    "LmdbStore",
    "ManagerDictStore",
    "Operations",
    "OrderedTableStore",
    "Pairs",
    "PickledDictStore",
    "RedisStore",
    "SharedDictStore",
    "Store",
    "TableStore",
    "importable",
]

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

ORDERED_STORES: tuple[type[Store], ...] = (OrderedTableStore, LmdbStore)
"""Those that have an order of keys."""
