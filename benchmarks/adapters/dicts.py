# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102  # what the methods do is said once, in Store
"""In one process: what sharing costs is measured against these."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from benchmarks.adapters.store import Key, Operations, Store


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
