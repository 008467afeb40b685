# SPDX-License-Identifier: Apache-2.0
"""Tables under fork, spawn, forkserver, pools and executors; what N processes write is all there and exact."""

import multiprocessing
import os
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import Child, in_child

METHODS = ["fork", "spawn", "forkserver"]


def count(table: tm.Table, key: str, times: int) -> int:
    """Add 1 so many times; returns the pid."""
    for _ in range(times):
        table.update_counter(key, 1, (key, 0))
    return os.getpid()


def count_one(shared: "tm.SharedDict[str, int]", key: str) -> int:
    """For pools: one increment."""
    return shared.increment(key)


@pytest.mark.parametrize("method", METHODS)
def test_a_table_is_an_argument_of_a_process(method: str) -> None:
    """Under every start method; the child works on the same table."""
    table = tm.create("t", access="public")
    assert in_child(count, table, "n", 100, method=method) != os.getpid()
    assert table.lookup("n") == [("n", 100)]


@pytest.mark.parametrize("method", METHODS)
def test_a_table_is_an_argument_in_a_pool(method: str) -> None:
    """multiprocessing.Pool pickles it with every task."""
    shared = tm.SharedDict[str, int]("d")
    with multiprocessing.get_context(method).Pool(2) as pool:
        sums = pool.starmap(count_one, [(shared, "n")] * 200, chunksize=10)
    assert sorted(sums) == list(range(1, 201))
    assert shared == {"n": 200}


@pytest.mark.parametrize("method", METHODS)
def test_a_table_is_an_argument_of_an_executor(method: str) -> None:
    """ProcessPoolExecutor likewise."""
    shared = tm.SharedDict[str, int]("d")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        futures = [executor.submit(count_one, shared, "n") for _ in range(100)]
        assert sorted(future.result() for future in futures) == list(range(1, 101))


def test_nothing_is_registered_with_the_resource_tracker() -> None:
    """The interpreter's tracker knows no table, so the end of a process removes none."""
    program = (
        "import multiprocessing.resource_tracker as r; import tablemgr as tm; tm.create('t', heir='manager'); "
        "tm.attach('t'); assert r._resource_tracker._fd is None"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [info.name for info in tm.tables()] == ["t"]


def test_counters_of_many_writers_are_exact() -> None:
    """4 processes add to the same 10 counters and to their own; no increment is lost."""
    table = tm.create("t", access="public")

    def work(pipe: Connection, me: int) -> None:
        pipe.recv()
        for n in range(3000):
            table.update_counter(n % 10, 1, (n % 10, 0))
            table.update_counter(("own", me), 1, (("own", me), 0))

    children = [Child(work, me) for me in range(4)]
    for child in children:
        child.send()
    for child in children:
        child.result()
        child.kill()
    assert dict(table) == dict.fromkeys(range(10), 1200) | {("own", me): 3000 for me in range(4)}


def test_inserts_of_many_writers_are_all_there() -> None:
    """4 processes insert rows of their own while the table grows under them; each reads back its own writes."""
    table = tm.create("t", access="public")

    def work(pipe: Connection, me: int) -> None:
        pipe.recv()
        for n in range(5000):
            row = (f"{me}:{n}", n, b"x" * (n % 300))
            if n % 7 == 0:
                assert table.insert_new(row)
            else:
                table.insert(row)
            earlier = n // 2
            if earlier % 11:
                assert table.lookup(f"{me}:{earlier}") == [(f"{me}:{earlier}", earlier, b"x" * (earlier % 300))]
            if n % 11 == 0:
                assert table.delete(f"{me}:{n}") == 1

    children = [Child(work, me) for me in range(4)]
    for child in children:
        child.send()
    for child in children:
        child.result()
        child.kill()
    expected = {f"{me}:{n}": (n, b"x" * (n % 300)) for me in range(4) for n in range(5000) if n % 11}
    assert len(table) == len(expected)
    assert {key: (n, data) for key, n, data in table} == expected


def sealed(version: int, length: int) -> tuple[Any, ...]:
    """The rest of a row that says whether somebody wrote it as a whole."""
    body = os.urandom(length)
    return version, body, zlib.crc32(body + str(version).encode())


def is_sealed(row: tuple[Any, ...]) -> bool:
    """Whether sealed() made it."""
    _, version, body, seal = row
    return bool(zlib.crc32(body + str(version).encode()) == seal)


def test_readers_see_no_row_that_nobody_wrote() -> None:
    """2 writers overwrite 50 rows with others of all lengths while 2 readers check each row they get."""
    table = tm.create("t", access="public")
    for key in range(50):
        table.insert((key, *sealed(0, 10)))

    def write(pipe: Connection, seed: int) -> None:
        version = seed
        while not pipe.poll():
            for key in range(50):
                version += 2
                table.insert((key, *sealed(version, version * 37 % 3000)))

    def read(pipe: Connection) -> int:
        reader = tm.attach("t", readonly=True)
        reads = 0
        while not pipe.poll():
            for key in range(50):
                [row] = reader.lookup(key)
                assert is_sealed(row)
            for [row] in reader.lookup_many(range(50)):
                assert is_sealed(row)
            seen = list(reader)
            assert len({row[0] for row in seen}) == len(seen) == 50
            assert all(map(is_sealed, seen))
            assert len(reader) == 50
            reads += 151
            pipe.send(reads) if reads == 151 * 20 else None
        return reads

    with Child(write, 1) as one, Child(write, 2) as two, Child(read) as reader, Child(read) as other:
        for child in (reader, other):
            assert child.receive() == 151 * 20
        for child in (reader, other, one, two):
            child.send("enough")
            child.result()


def test_lists_and_blocks_are_seen_all_or_nothing() -> None:
    """A writer moves 20 rows over all parts of the table from one version to the next in one step; the length and each
    lookup_many of one key after the other never go back, and len() never shows a block half done."""
    table = tm.create("t", access="public")
    table.insert([(key, 0) for key in range(20)])

    def write(pipe: Connection) -> None:
        version = 0
        while not pipe.poll():
            version += 1
            if version % 3 == 0:
                table.insert([(key, version) for key in range(20)])
            elif version % 3 == 1:
                with table.atomic() as tx:
                    for key in range(20):
                        tx.update_counter(key, 1)
            else:
                with table.atomic() as tx:
                    for key in range(20):
                        tx.delete(key)
                        tx.insert((key, version))
                    tx.insert([("extra", n) for n in range(5)])
                    tx.delete("extra")
            with table.atomic() as tx:
                tx.insert([(("more", n), version) for n in range(30)])
            with table.atomic() as tx:
                for n in range(30):
                    tx.delete(("more", n))

    def read(pipe: Connection) -> None:
        reader = tm.attach("t", readonly=True)
        for _ in range(1500):
            first = reader.lookup_element(0, 1)
            later = [reader.lookup_element(key, 1) for key in range(20)]
            assert later == sorted(later), "a row was older than one read before it"
            assert later[0] >= first
            assert len(reader) in (20, 50)

    with Child(write) as writer, Child(read) as reader, Child(read) as other:
        reader.result()
        other.result()
        writer.send("enough")
        writer.result()
    assert len({version for _, version in table}) == 1


def test_of_many_takers_each_row_has_one() -> None:
    """4 processes take and pop from one table; together they got every row once."""
    shared = tm.SharedDict("d", {n: n for n in range(2000)})

    def take(pipe: Connection, forward: bool) -> list[int]:
        pipe.recv()
        got = []
        if forward:
            for n in range(2000):
                got += [row[0] for row in shared.table.take(n)]
        else:
            while True:
                try:
                    got.append(shared.popitem()[0])
                except KeyError:
                    break
        return got

    children = [Child(take, n % 2 == 0) for n in range(4)]
    for child in children:
        child.send()
    results = [child.result() for child in children]
    for child in children:
        child.kill()
    assert sorted(n for result in results for n in result) == list(range(2000))
    assert len(shared) == 0


def test_compare_and_swap_lets_one_through() -> None:
    """4 processes count by compare_and_swap alone."""
    table = tm.create("t", access="public")
    table.insert(("n", 0))

    def work(pipe: Connection) -> None:
        pipe.recv()
        for _ in range(300):
            while True:
                [old] = table.lookup("n")
                if table.compare_and_swap(old, ("n", old[1] + 1)):
                    break

    children = [Child(work) for _ in range(4)]
    for child in children:
        child.send()
    for child in children:
        child.result()
        child.kill()
    assert table.lookup("n") == [("n", 1200)]


def test_an_attached_process_sees_growth_beyond_what_it_mapped() -> None:
    """A handle from before the table grew by a hundred times reads and writes all of it."""
    table = tm.create("t", access="public")
    early = tm.attach("t")
    reader = tm.attach("t", readonly=True)

    def grow() -> None:
        tm.attach("t").insert([(n, "x" * 500) for n in range(40_000)])

    in_child(grow)
    assert len(early) == len(reader) == 40_000
    assert reader.lookup(39_999) == [(39_999, "x" * 500)]
    early.insert((0, "y"))
    assert table.lookup(0) == [(0, "y")]


def test_a_delete_all_is_one_step_for_readers() -> None:
    """The length is the whole or nothing, and after the return nothing of before is left."""
    table = tm.create("t", access="public")

    def write(pipe: Connection) -> None:
        while not pipe.poll():
            table.insert([(n, "x" * 50) for n in range(100)])
            assert table.delete_all() == 100
            assert table.lookup(5) == []

    def read(pipe: Connection) -> None:
        reader = tm.attach("t", readonly=True)
        for _ in range(3000):
            assert len(reader) in (0, 100)

    with Child(write) as writer, Child(read) as reader:
        reader.result()
        writer.send("enough")
        writer.result()
