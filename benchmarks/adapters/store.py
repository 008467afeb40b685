# SPDX-License-Identifier: Apache-2.0
"""The interface: what a store under test is, and what one process can do with it."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Key = Any
Pairs = Sequence[tuple[Key, bytes]]


@dataclass(frozen=True, slots=True)
class Operations:
    """What one process can do with a store. Keys are str or bytes as the store likes them (see `Store.key`).

    `insert` is given keys that are not in the store, `put` keys that are; `increment` is atomic wherever the store can
    be shared; `lookup_many`, `insert_many` and `items` are one batch each, the fastest the store has. `scan` gives the
    first n rows from a key on, in the order of keys; None where a store has no order."""

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
    scan: Callable[[Key, int], object] | None = None


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
