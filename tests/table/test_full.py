# SPDX-License-Identifier: Apache-2.0
"""No room: max_bytes, a full /dev/shm, at creation and at growth. An exception, and the table as it was."""

import contextlib
import ctypes
import os
import random
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import Child, ChildError, in_child

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18


def fill(table: tm.Table, length: int = 1000) -> int:
    """Insert rows until there is no room; how many went in."""
    n = 0
    with pytest.raises(tm.TableFullError, match="'t'"):
        while True:
            table.insert((n, "x" * length))
            n += 1
    return n


def test_max_bytes_is_a_limit() -> None:
    """TableFullError, a MemoryError; every row before it is there, and room that is made is used."""
    table = tm.create("t", max_bytes=2 << 20)
    n = fill(table)
    assert n > 800
    assert len(table) == n
    assert all(table.lookup(i) == [(i, "x" * 1000)] for i in range(n))
    assert table.info().bytes_reserved <= 2 << 20
    assert table.check() == []
    for verb, args in (
        (table.insert, (("new", "x" * 100_000),)),
        (table.insert, ([("a", 1), ("new", "x" * 5_000_000)],)),
        (table.insert_new, (("new", "x" * 5_000_000),)),
        (table.update_element, (0, (1, "x" * 5_000_000))),
        (table.compare_and_swap, ((0, "x" * 1000), (0, "x" * 5_000_000))),
    ):
        with pytest.raises(MemoryError):
            verb(*args)
    with pytest.raises(tm.TableFullError), table.atomic() as tx:
        tx.delete(0)
        tx.insert(("new", "x" * 5_000_000))
    assert len(table) == n
    assert table.lookup(0) == [(0, "x" * 1000)]
    table.delete_many(range(n))
    assert len(table) == 0
    assert fill(table) > n * 0.8
    assert table.check() == []


def test_deleting_works_in_a_full_table() -> None:
    """Also one by one, and by overwriting with smaller rows."""
    table = tm.create("t", max_bytes=1 << 20)
    n = fill(table)
    for i in range(n):
        assert table.delete(i) == 1
    assert len(table) == 0
    assert table.check() == []


def test_a_limit_too_small_for_an_empty_table_is_a_value_error() -> None:
    """It says that it is max_bytes that is too small."""
    with pytest.raises(ValueError, match="max_bytes"):
        tm.create("t", max_bytes=4096)
    assert tm.tables() == []


def test_a_full_file_system_is_an_exception_at_creation_and_at_growth() -> None:
    """A /dev/shm of 2 MB, in a mount namespace of its own: TableFullError, never SIGBUS, and rows stay."""
    in_small_shm(2 << 20, _fill_the_file_system)


def _fill_the_file_system() -> None:
    table = tm.create("t")
    n = fill(table)
    assert n > 500
    with pytest.raises(tm.TableFullError, match="/dev/shm"):
        tm.create("another")
    assert [info.name for info in tm.tables()] == ["t"]
    assert all(table.lookup(i) == [(i, "x" * 1000)] for i in range(n))
    with pytest.raises(tm.TableFullError), table.atomic() as tx:
        tx.delete_object((0, "x" * 1000))
        tx.insert(("new", "x" * 3_000_000))
    assert len(table) == n
    table.delete_many(range(0, n, 2))
    for i in range(0, n // 2, 2):
        table.insert((i, "y" * 1000))
    assert table.check() == []
    table.drop()
    tm.create("another").drop()


def test_loading_into_a_full_file_system_names_the_table_and_leaves_none(tmp_path: Path) -> None:
    """The table that was asked for, not the one that is being filled."""
    in_small_shm(2 << 20, lambda: _load_too_much(tmp_path / "t.tm"))


def _load_too_much(path: Path) -> None:
    table = tm.create("t")
    table.insert([(n, "x" * 1000) for n in range(900)])
    tm.save(table, path)
    for _ in range(2):  # at its growth, and where it cannot even be made
        with pytest.raises(tm.TableFullError, match="^load: .*'copy'"):
            tm.load(path, name="copy")
        assert [info.name for info in tm.tables()] == ["t"]
        fill(table)


def test_growth_of_another_file_in_dev_shm_is_no_danger() -> None:
    """Somebody else fills /dev/shm: what is reserved stays usable."""
    in_small_shm(4 << 20, _others_fill_the_file_system)


def _others_fill_the_file_system() -> None:
    table = tm.create("t")
    table.insert([(n, "x" * 100) for n in range(1000)])
    with open("/dev/shm/other", "wb") as other, pytest.raises(OSError, match="No space"):
        while True:
            other.write(b"x" * 65536)
            other.flush()
    n = fill(table)
    before = sorted(table)
    with contextlib.suppress(tm.TableFullError):  # the new row needs room before the old one gives room
        for i in range(n):
            table.insert((i, "y" * 1000))
    assert [row[0] for row in before] == sorted(row[0] for row in table)
    assert table.check() == []
    os.unlink("/dev/shm/other")


def in_small_shm(size: int, function: Callable[[], Any]) -> None:
    """Call it in a child that has a /dev/shm of its own; skip where the system lets nobody have one."""

    def child() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) != 0 and libc.unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0:
            return "no mount namespaces here"
        if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
            return "no private mounts here"
        if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={size}".encode()) != 0:
            return "no tmpfs to be mounted here"
        function()
        return ""

    try:
        obstacle = in_child(child)
    except ChildError as failure:
        pytest.fail(str(failure))
    if obstacle:
        pytest.skip(obstacle)


def test_a_list_uses_the_room_that_deletes_made() -> None:
    """Most of a full table is deleted: a list of rows goes in, though every page still holds some row."""
    table = tm.create("t", access="public", max_bytes=2 << 20)
    n = fill(table)
    table.delete_many(i for i in range(n) if i % 4 != 0)
    table.insert([(i, "y" * 1000) for i in range(1, 128, 4)])
    assert table.check() == []


@pytest.mark.parametrize("how", ["delete_all", "delete_many"])
@pytest.mark.parametrize(("type", "rows_of_a_key"), [("set", 1), ("duplicate_bag", 50)])
def test_a_list_takes_all_the_room_that_a_whole_table_had(type: str, rows_of_a_key: int, how: str) -> None:
    """At once: what is deleted is counted as used until it is tidied up, and is no reason to refuse."""
    table = tm.create("t", type=type, max_bytes=16 << 20)
    keys = 20_000 // rows_of_a_key
    table.insert([(i, j, bytes(500)) for i in range(keys) for j in range(rows_of_a_key)])
    assert (table.delete_all() if how == "delete_all" else table.delete_many(range(keys))) == 20_000
    table.insert([(keys + i, 0, bytes(500)) for i in range(20_000)])
    assert len(table) == 20_000
    assert table.check() == []


# -- freed memory is used again by rows of any size ---------------------------------------------------------------

MIB = 1 << 20


def insert_until_full(table: tm.Table, first: int, length: int, rows_of_a_key: int = 1) -> int:
    """Rows of the keys first, first + 1, ..., of so many bytes, until there is no room; the next key."""
    n = 1 + 20_000 // (length * rows_of_a_key)
    while n > 0:
        try:
            table.insert([(i, j, bytes(length)) for j in range(rows_of_a_key) for i in range(first, first + n)])
            first += n
        except tm.TableFullError:
            n //= 2
    return first


@pytest.mark.parametrize("new", [30, 150, 1000, 3000, 5000, 20_000, 100_000, 700_000])
def test_rows_that_are_deleted_at_random_make_room_for_rows_of_another_size(new: int) -> None:
    """Half of the small rows of a full table go: most of what they held, rows of any other size get."""
    assert share_used_again(16 * MIB, 100, new) >= 0.8


@pytest.mark.parametrize("old", [150, 1000, 5000, 20_000, 100_000])
def test_larger_rows_that_are_deleted_make_room_for_small_ones(old: int) -> None:
    """The reverse."""
    assert share_used_again(16 * MIB, old, 100) >= 0.85


@pytest.mark.parametrize(("old", "new"), [(100, 20_000), (20_000, 100), (1000, 3000)])
def test_an_ordered_set_uses_its_memory_again(old: int, new: int) -> None:
    """Its rows are moved as those of a set are."""
    assert share_used_again(16 * MIB, old, new, type="ordered_set") >= 0.85


@pytest.mark.parametrize(("old", "new"), [(100, 20_000), (1000, 100), (1000, 3000)])
@pytest.mark.parametrize("rows_of_a_key", [2, 16])
@pytest.mark.parametrize("type", ["bag", "duplicate_bag"])
def test_a_bag_uses_the_memory_of_lists_again(type: str, rows_of_a_key: int, old: int, new: int) -> None:
    """All rows of the keys that stay are moved, not the newest alone."""
    assert share_used_again(8 * MIB, old, new, type, rows_of_a_key) >= 0.8


def share_used_again(max_bytes: int, old: int, new: int, type: str = "set", rows_of_a_key: int = 1) -> float:
    """Of the bytes that every other key of a full table held: the share that rows of another size then get."""
    table = tm.create("t", type=type, max_bytes=max_bytes)
    n = insert_until_full(table, 0, old, rows_of_a_key)
    full = table.info().bytes_used
    gone = set(random.Random(old * new).sample(range(n), n // 2))
    table.delete_many(gone)
    table.delete_many(range(-10_000, 0))  # by when the last list is counted off, too
    deleted = table.info().bytes_used
    end = insert_until_full(table, n, new)
    again = table.info().bytes_used
    print(f"{n} keys with rows of {old}, half of them deleted, then {end - n} of {new}")
    assert table.check() == []
    assert len(table) == (n - len(gone)) * rows_of_a_key + end - n
    assert all(row[2] == bytes(old if row[0] < n else new) for row in table)
    share = (again - deleted) / (full - deleted)
    print(f"{share:.3f} of {full - deleted} bytes, payload {(end - n) * new / (len(gone) * rows_of_a_key * old):.3f}")
    return share


def any_length(dice: random.Random) -> int:
    """Between 10 and 100,000, each power of ten as likely as the others."""
    return int(10 ** dice.uniform(1, 5))


def row_of(key: int, length: int) -> tuple[int, int, bytes]:
    """A row whose parts can be told from each other's."""
    return (key, length, key.to_bytes(4, "little") * (length // 4))


class Churn:
    """Rows of all sizes that come and go at random, the sum of their bytes staying about the same."""

    def __init__(self, table: tm.Table, live_bytes: int, seed: int) -> None:
        self.table, self.live_bytes = table, live_bytes
        self.dice = random.Random(seed)
        self.rows: dict[int, int] = {}
        self.next = 0

    def round(self) -> None:
        """A third of the rows goes, then new ones come, singly and in lists."""
        for key in self.dice.sample(sorted(self.rows), len(self.rows) // 3):
            self.table.delete(key)
            del self.rows[key]
        while True:
            lengths = [any_length(self.dice) for _ in range(self.dice.choice((1, 1, 10)))]
            if sum(self.rows.values()) + sum(lengths) > self.live_bytes:
                return
            keys = range(self.next, self.next + len(lengths))
            rows = [row_of(key, length) for key, length in zip(keys, lengths, strict=True)]
            self.table.insert(rows if len(rows) > 1 else rows[0])
            self.rows.update(zip(keys, lengths, strict=True))
            self.next += len(lengths)


@pytest.mark.parametrize(("seed", "type"), [(1, "set"), (2, "set"), (3, "set"), (4, "ordered_set")])
def test_a_table_at_seven_tenths_never_fills_up(seed: int, type: str) -> None:
    """Rows of 10 bytes to 100 kB come and go in 20 rounds: there is always room, and every byte is what was written."""
    table = tm.create("t", type=type, max_bytes=32 * MIB)
    churn = Churn(table, int(0.7 * 32 * MIB), seed)
    for _ in range(20):
        churn.round()
        assert table.check() == []
        assert len(table) == len(churn.rows)
        assert all(row == row_of(row[0], churn.rows[row[0]]) for row in table)


def read_until_told(pipe: Connection, name: str) -> tuple[int, list[Any]]:
    """Look rows up until there is a message; how many reads, and what was wrong."""
    table, dice, reads = tm.attach(name), random.Random(5), 0
    wrong: list[Any] = []
    pipe.send("ready")
    while not pipe.poll():
        for _ in range(50):
            key = dice.randrange(4000)
            rows = table.lookup(key)
            reads += 1
            if rows and rows != [row_of(key, rows[0][1])]:
                wrong.append(rows)
            if key < 200 and not rows:
                wrong.append(key)
    return reads, wrong


def test_readers_see_no_wrong_row_while_rows_are_moved() -> None:
    """Another process reads while writes compact the table: each row whole, and those that stay always there."""
    table = tm.create("t", max_bytes=4 * MIB)
    table.insert([row_of(key, 100 + key) for key in range(200)])
    with Child(read_until_told, "t") as reader:
        reader.receive()
        dice = random.Random(7)
        for length in (100, 3000, 60, 500, 20_000, 200, 7000, 100):
            keys = list(range(200, 4000))
            with contextlib.suppress(tm.TableFullError):
                for key in keys:
                    table.insert(row_of(key, length))
            for key in dice.sample(keys, 1900):
                table.delete(key)
        reader.send()
        reads, wrong = reader.result()
    assert not wrong
    assert reads > 1000
    assert table.check() == []
