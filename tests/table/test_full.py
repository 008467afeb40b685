# SPDX-License-Identifier: Apache-2.0
"""No room: max_bytes, a full /dev/shm, at creation and at growth. An exception, and the table as it was."""

import contextlib
import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import ChildError, in_child

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
