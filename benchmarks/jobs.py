# SPDX-License-Identifier: Apache-2.0
"""The work that members of a crew do: each prepares its keys and gives a loop to be timed (see `crew`)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from benchmarks.adapters import Operations, Store
from benchmarks.crew import Load
from benchmarks.keys import choose, key, value
from benchmarks.measure import CHUNK, Prepared, chunks

PREPARED = 20_000
FRESH = 1_000_000_000
"""Rows with numbers from here on are made by `insert` and removed by `delete`."""
FRESH_CHUNKS = 100
FILL_BATCH = 10_000


def seed(load: Load, member: int) -> int:
    """A seed that no other member and turn has."""
    return load.turn * 100 + member


def fill(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Load an empty store with all rows, in random order."""
    numbers = list(range(load.rows))
    random.Random(1).shuffle(numbers)
    pairs = [(store.key(key(number)), value(number)) for number in numbers]
    pieces = [pairs[at : at + FILL_BATCH] for at in range(0, len(pairs), FILL_BATCH)]
    return operations.insert_many, pieces


def get(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Read chosen keys."""
    wanted = [store.key(key(number)) for number in choose(load.rows, PREPARED, load.keys, seed(load, member))]
    fetch = operations.get

    def body(piece: Any) -> None:
        for one in piece:
            fetch(one)

    return body, chunks(wanted)


def overwrite(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Replace the values of chosen keys by others of the same size."""
    numbers = choose(load.rows, PREPARED, load.keys, seed(load, member))
    pairs = [(store.key(key(number)), value(number, load.turn)) for number in numbers]
    put = operations.put

    def body(piece: Any) -> None:
        for one, content in piece:
            put(one, content)

    return body, chunks(pairs)


def increment(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Add 1 to chosen counters."""
    numbers = choose(load.rows, PREPARED, load.keys, seed(load, member))
    wanted = [store.key(counter(number)) for number in numbers]
    add = operations.increment

    def body(piece: Any) -> None:
        for one in piece:
            add(one)

    return body, chunks(wanted)


def counter(number: int) -> str:
    """The key of a counter: as long as a row's."""
    return f"cnt-{number:012d}"


def fresh(store: Store, member: int, turn: int) -> Iterator[list[tuple[Any, bytes]]]:
    """Chunks of pairs with keys that are in no store, in random order; the same for the same member and turn."""
    first = FRESH + (turn * 16 + member) * FRESH_CHUNKS * CHUNK
    numbers = list(range(first, first + FRESH_CHUNKS * CHUNK))
    random.Random(turn * 100 + member).shuffle(numbers)
    for at in range(0, len(numbers), CHUNK):
        yield [(store.key(key(number)), value(number % FRESH)) for number in numbers[at : at + CHUNK]]


def between(store: Store, member: int, load: Load) -> Iterator[list[tuple[Any, bytes]]]:
    """Chunks of pairs with keys that are in no store, each right behind one of the rows' that are there, all over the
    range; the same for the same member and turn."""
    chosen = random.Random(seed(load, member)).sample(range(load.rows), min(load.rows, FRESH_CHUNKS * CHUNK))
    ending = f".{load.turn * 16 + member:04x}"
    for at in range(0, len(chosen), CHUNK):
        yield [(store.key(key(number) + ending), value(number)) for number in chosen[at : at + CHUNK]]


def insert(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Insert new keys, behind all others."""
    return _inserting(operations, fresh(store, member, load.turn))


def delete(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Delete the keys that `insert` of the same member and turn made."""
    return _deleting(operations, fresh(store, member, load.turn))


def insert_between(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Insert new keys, all over the range."""
    return _inserting(operations, between(store, member, load))


def delete_between(operations: Operations, store: Store, member: int, load: Load) -> Prepared:
    """Delete the keys that `insert_between` of the same member and turn made."""
    return _deleting(operations, between(store, member, load))


def _inserting(operations: Operations, new: Iterator[list[tuple[Any, bytes]]]) -> Prepared:
    put = operations.insert

    def body(piece: Any) -> None:
        for one, content in piece:
            put(one, content)

    return body, list(new)


def _deleting(operations: Operations, new: Iterator[list[tuple[Any, bytes]]]) -> Prepared:
    def made(piece: list[tuple[Any, bytes]]) -> bool:
        try:
            return bool(operations.get(piece[-1][0]))
        except KeyError:
            return False

    present = [[one for one, _ in piece] for piece in itertools.takewhile(made, new)]
    remove = operations.delete

    def body(piece: Any) -> None:
        for one in piece:
            remove(one)

    return body, present


def mixed(
    share_of_writes: float, read_first: bool, operations: Operations, store: Store, member: int, load: Load
) -> Prepared:
    """Reads and overwrites of chosen keys at random; with `read_first` a write reads its key before."""
    numbers = choose(load.rows, PREPARED, load.keys, seed(load, member))
    chance = random.Random(seed(load, member))
    steps = [
        (store.key(key(number)), value(number, load.turn) if chance.random() < share_of_writes else None)
        for number in numbers
    ]
    fetch, put = operations.get, operations.put

    def body(piece: Any) -> None:
        for one, content in piece:
            if content is None:
                fetch(one)
            else:
                put(one, content)

    def body_reading_first(piece: Any) -> None:
        for one, content in piece:
            fetch(one)
            if content is not None:
                put(one, content)

    return (body_reading_first if read_first else body), chunks(steps)
