# SPDX-License-Identifier: Apache-2.0
"""Writers are SIGKILLed at random, again and again; every write they acknowledged is there.

Each writer logs, in a file of its own, what it is about to do and that it has returned. What is in the table afterwards
must follow from the logs: acknowledged writes wholly, the one that was under way wholly or not at all.
"""

import os
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import tablemgr as tm
from tests.support.child import Child
from tests.support.soak import generator, seconds_of_storm

WRITERS = 3
SLOTS = 64  # rows per writer
BATCH = 300  # writes that a writer is asked for at a time
ENTRY = struct.Struct("<cI")  # b"?" before a write, b"!" after it, and its number


def write(pipe: Connection, me: int, path: str, first: int) -> None:
    """Numbered writes, as many as asked for, each of a kind that follows from its number, acknowledged in the log."""
    table = tm.attach("storm")
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    pipe.send("ready")
    number = first
    while True:
        for _ in range(pipe.recv()):
            os.write(log, ENTRY.pack(b"?", number))
            perform(table, me, number)
            os.write(log, ENTRY.pack(b"!", number))
            number += 1
        pipe.send("done")


def payload(number: int) -> str:
    """Text of a length and content that follow from the number."""
    return f"{number}:" + "x" * (number * 7919 % 700)


def perform(table: tm.Table, me: int, number: int) -> None:
    """The write of that number: of one row, of a list, or a block that also counts in rows of all writers."""
    slot = (me, number % SLOTS)
    kind = number % 5
    if kind == 0:
        table.insert((slot, number, payload(number)))
    elif kind == 1:
        table.insert([((me, (number + n) % SLOTS), number, payload(number + n)) for n in range(10)])
    elif kind == 2:
        table.delete(slot)
    elif kind == 3:
        with table.atomic() as tx:
            for n in range(8):
                tx.update_counter(("count", n), 1, (("count", n), 0))
            tx.insert(((me, "blocks"), number))
            tx.insert((slot, number, payload(number)))
    else:
        table.update_element(slot, (2, payload(number)), (slot, -number, ""))


@dataclass
class Model:
    """What one writer's rows must be after so many of its writes."""

    me: int
    rows: dict[object, tuple[object, ...]] = field(default_factory=dict)
    blocks: int = 0

    def perform(self, number: int) -> None:
        """The same as perform()."""
        slot = (self.me, number % SLOTS)
        kind = number % 5
        if kind == 0:
            self.rows[slot] = (slot, number, payload(number))
        elif kind == 1:
            for n in range(10):
                other = (self.me, (number + n) % SLOTS)
                self.rows[other] = (other, number, payload(number + n))
        elif kind == 2:
            self.rows.pop(slot, None)
        elif kind == 3:
            self.blocks += 1
            self.rows[(self.me, "blocks")] = ((self.me, "blocks"), number)
            self.rows[slot] = (slot, number, payload(number))
        else:
            old = self.rows.get(slot, (slot, -number, ""))
            self.rows[slot] = (*old[:2], payload(number))


def entries(path: Path, position: int) -> Iterator[tuple[bytes, int]]:
    """The log of a writer from a position on; an entry is written by one call, so none is torn."""
    with open(path, "rb") as log:
        log.seek(position)
        yield from ENTRY.iter_unpack(log.read())


class Writer:
    """A writer through all its deaths: after each, the table says whether the last write was done."""

    def __init__(self, me: int, folder: Path, table: tm.Table) -> None:
        self.path = folder / f"{me}.log"
        self.path.touch()
        self.model = Model(me)
        self.table = table
        self.position = 0
        self.next = 1
        self.busy = False
        self.child = self.start()

    def start(self) -> Child:
        child = Child(write, self.model.me, str(self.path), self.next)
        child.receive()
        self.busy = False
        return child

    def go_on(self) -> None:
        """Ask for more, unless it is at it."""
        if self.busy and self.child.pipe.poll():
            self.child.receive()
            self.busy = False
        if not self.busy:
            self.child.send(BATCH)
            self.busy = True

    def kill(self) -> None:
        self.child.kill()
        self.child.__exit__()

    def own_rows(self) -> dict[object, tuple[object, ...]]:
        """This writer's rows as they are in the table."""
        return {row[0]: row for row in self.table if row[0][0] == self.model.me}

    def settle(self) -> None:
        """Bring the model to where the log says it is; the write under way, if any, is judged by the table."""
        seen = list(entries(self.path, self.position))
        self.position += len(seen) * ENTRY.size
        under_way = 0
        for mark, number in seen:
            if mark == b"!":
                self.model.perform(number)
                under_way = 0
            else:
                under_way = number
        found = self.own_rows()
        if under_way:
            self.next = under_way + 1
            after = Model(self.model.me, dict(self.model.rows), self.model.blocks)
            after.perform(under_way)
            if found == after.rows:
                self.model = after
            # else it must be as before: compared below
        elif seen:
            self.next = seen[-1][1] + 1
        assert found == self.model.rows


def test_every_acknowledged_write_survives_a_storm_of_kills(tmp_path: Path) -> None:
    """Random single kills and kills of all at once; afterwards content, counters and structure are right."""
    table = tm.create("storm", access="public")
    chance = generator()
    writers = [Writer(me, tmp_path, table) for me in range(WRITERS)]
    kills = 0
    end = time.monotonic() + seconds_of_storm(10, share=0.4)
    try:
        while time.monotonic() < end:
            let_run(writers, chance)
            victims = writers if chance.random() < 0.2 else [chance.choice(writers)]
            for victim in victims:
                victim.kill()
            kills += len(victims)
            for victim in victims:
                victim.settle()
                victim.child = victim.start()
    finally:
        for writer in writers:
            writer.kill()
    for writer in writers:
        writer.settle()
    print(f"{kills} kills")
    assert kills >= 10
    blocks = sum(writer.model.blocks for writer in writers)
    counts = {table.lookup_element(("count", n), 1) for n in range(8)}
    assert len(counts) == 1, "a block counted in some rows and not in others"
    # a killed block that changed nothing but the counters cannot be told from one that was not done: none is like that
    assert counts == {blocks}
    assert table.check() == []
    rows = {key: row for writer in writers for key, row in writer.model.rows.items()}
    assert len(table) == len(rows) + 8


def let_run(writers: list[Writer], chance: random.Random) -> None:
    """Until one of them has got on by a random number of log entries: a kill comes at any point of any write."""
    for each in writers:
        each.go_on()
    writer = chance.choice(writers)
    goal = os.path.getsize(writer.path) + ENTRY.size * chance.randrange(1, BATCH)
    patience = time.monotonic() + 60
    while os.path.getsize(writer.path) < goal and not writer.child.pipe.poll():
        assert time.monotonic() < patience, "the writers do not get on"
        os.sched_yield()


def test_growing_tables_survive_kills(tmp_path: Path) -> None:
    """The writer is killed while the table grows and its buckets split; the next one goes on where it was."""
    chance = generator(1)
    table = tm.create("growing", access="public", heir="manager")

    def grow(pipe: Connection, first: int) -> None:
        mine = tm.attach("growing")
        number = first
        while True:
            mine.insert((number, "x" * (number * 31 % 400)))
            number += 1
            if number % 64 == 0:
                pipe.send(number)

    acknowledged = 0
    for _ in range(25):
        with Child(grow, acknowledged) as child:
            for _ in range(chance.randrange(1, 60)):
                acknowledged = child.receive()
            child.kill()
        found = len(table)
        assert found >= acknowledged
        acknowledged = found
        assert table.check() == []
    assert {row[0] for row in table} == set(range(acknowledged))
    assert all(text == "x" * (number * 31 % 400) for number, text in table)


def test_a_dead_writer_is_repaired_by_the_next_one() -> None:
    """Writers find the lock of the dead and go on; info counts the repairs."""
    table = tm.create("t", access="public")
    chance = generator(2)

    def churn(pipe: Connection) -> None:
        pipe.send("ready")
        while True:
            table.insert([(n, "x" * 100) for n in range(500)])

    for _ in range(30):
        with Child(churn) as child:
            child.receive()
            deadline = time.monotonic() + chance.random() * 0.02
            while time.monotonic() < deadline:
                table.lookup(3)
            child.kill()
        table.insert([(n, "y") for n in range(500)])
        assert table.lookup_many(range(500)) == [[(n, "y")] for n in range(500)]
    assert table.check() == []
    info = table.info()
    assert info.repairs > 0
    assert info.last_repair is not None
