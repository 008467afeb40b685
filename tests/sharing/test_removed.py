# SPDX-License-Identifier: Apache-2.0
"""Segments that are removed, replaced or hidden under live handles: noticed, never split in two, and linked back."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr.segment_names import segment_name
from tablemgr.segments import TYPES
from tests.support.child import Child, in_child
from tests.support.soak import generator

from .test_strangers import SOMEBODY, as_user, refusal

ROWS = [(number, "x" * 50) for number in range(2000)]


def path_of(table: tm.Table) -> Path:
    """The table's file."""
    return Path(f"/dev/shm{segment_name(table.instance, table.name)}")


def remove(table: tm.Table) -> None:
    """What rm does, and RemoveIPC."""
    path_of(table).unlink()
    until_noticed(table)


def until_noticed(table: tm.Table) -> None:
    """At the next tick of the coarse clock at the latest."""
    while refusal(lambda: len(table)) == "none":
        os.sched_yield()


def filled(**options: Any) -> tm.Table:
    """A public table with rows."""
    table = tm.create("t", access="public", **options)
    table.insert(ROWS)
    return table


CALLS: list[Callable[[tm.Table], object]] = [
    len,
    list,
    lambda table: table.lookup(1),
    lambda table: table.insert((1, 2)),
    lambda table: table.delete(1),
    lambda table: table.delete_all(),
    lambda table: table.first(),
    lambda table: table.select(tm.Clause(tm.ANY)),
    lambda table: table.info(),
    lambda table: table.check(),
    lambda table: table.rename("u"),
    lambda table: table.setopts(access="private"),
    lambda table: table.give_away(os.getppid()),
]


def hide_and_call(name: str) -> list[str]:
    """In a child: what handles say once another file system is mounted over the names."""
    table = tm.attach(name)
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, recursive, private = 0x20000, 0x4000, 0x40000
    if libc.unshare(new_namespace) != 0 or libc.mount(None, b"/", None, recursive | private, None) != 0:
        return []
    if libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, None) != 0:
        return []
    until_noticed(table)
    other = tm.create(name, access="public")
    other.insert((1, "other"))
    return [refusal(lambda call=call: call(table)) for call in CALLS] + [refusal(table.relink), str(len(other))]  # type: ignore[misc]


def test_every_call_says_that_the_segment_was_removed() -> None:
    """And how it may come back; a new table under the name is another one, which the old handles never touch."""
    table = filled()
    reader = tm.attach("t", readonly=True)
    remove(table)
    new = tm.create("t", access="public")
    for handle in (table, reader):
        until_noticed(handle)
        for call in CALLS:
            text = refusal(lambda handle=handle, call=call: call(handle))  # type: ignore[misc]  # mypy cannot infer
            assert text.startswith("TableNotFoundError"), text
            assert "removed from /dev/shm" in text
            assert "relink()" in text
    assert len(new) == 0


def test_a_file_that_is_moved_over_the_segment_is_noticed(tmp_path: Path) -> None:
    """Replaced is removed; the relink is refused, and the file stays."""
    table = filled()
    other = Path(f"/dev/shm/tablemgr.{table.instance}.other")
    other.write_text("no table")
    other.replace(path_of(table))
    until_noticed(table)
    with pytest.raises(tm.TableExistsError, match="relink.*'t'"):
        table.relink()
    assert path_of(table).read_text() == "no table"
    tm.drop("t", force=True)
    table.relink()
    assert sorted(table) == ROWS


def test_another_mount_over_the_names_is_noticed() -> None:
    """A table that is not where its name leads is refused, and not changed beside the one that has the name now."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    table = filled()
    texts = in_child(hide_and_call, "t")
    if not texts:
        pytest.skip("no mount namespaces here")
    *refused, relinked, rows_of_other = texts
    for text in refused:
        assert text.startswith("TableNotFoundError"), text
        assert "another file system is mounted at /dev/shm" in text
    assert relinked.startswith("OSError"), relinked
    assert rows_of_other == "1"
    assert sorted(table) == ROWS


@pytest.mark.parametrize("table_type", TYPES)
def test_a_removed_table_is_linked_back_with_all_that_it_is(table_type: str) -> None:
    """Rows, owner, heir, options and continuations; handles of all kinds and processes go on by themselves."""
    table = tm.create(
        "t", type=table_type, access="public", heir="manager", heir_data="word", mode=0o640, max_bytes=64 << 20
    )
    table.insert(ROWS)
    reader = tm.attach("t", readonly=True)
    _, continuation = table.select(tm.Clause(tm.ANY), limit=30)
    before = table.info()

    def use(pipe: Connection) -> list[Any]:
        mine = tm.attach("t")
        pipe.send("attached")
        pipe.recv()
        mine.insert(("of the child", 1))
        return sorted(row for row in mine if row[0] != "of the child")

    with Child(use) as child:
        child.receive()
        remove(table)
        assert refusal(reader.relink).startswith("AccessError")
        assert in_child(lambda: refusal(table.relink)) == "none"  # who may write to a table may do this
        child.send()
        assert child.result() == ROWS
    assert reader.lookup("of the child") == table.lookup("of the child") == [("of the child", 1)]
    assert len(table.select(continuation)[0]) == 30
    table.delete("of the child")
    after = table.info()
    same = ("name", "type", "access", "keypos", "codec", "mode", "uid", "rows", "max_bytes", "owner", "heir", "created")
    assert [getattr(after, field) for field in same] == [getattr(before, field) for field in same]
    assert table.check() == []
    table.relink()  # nothing to do
    table.setopts(access="protected")
    assert reader.info().access == "protected"


def test_it_grows_on_and_is_removed_again() -> None:
    """However often; handles that slept through all of it find it, renamed ones under the new name."""
    table = filled()
    asleep = tm.attach("t")
    for turn in range(5):
        table.insert([((turn, number), "y" * 200) for number in range(3000)])
        remove(table)
        table.relink()
    assert len(asleep) == len(ROWS) + 15_000
    table.rename("u")
    remove(table)
    asleep.relink()
    assert (asleep.name, len(asleep), len(table)) == ("u", len(ROWS) + 15_000, len(ROWS) + 15_000)
    assert table.check() == []
    late = tm.attach("u")
    remove(table)
    table.relink()
    table.rename("t")
    for call in (lambda: len(late), late.relink):
        assert "renamed or removed again" in refusal(call)
    awake = tm.attach("t")
    table.drop()
    assert "dropped" in refusal(awake.relink)
    assert tm.tables() == []


def test_a_drop_of_a_removed_table_is_for_good() -> None:
    """Nobody links it back, through whatever handle: it was dropped, and says so."""
    table = filled()
    other = tm.attach("t")
    remove(table)
    table.drop()
    assert "dropped" in refusal(other.relink)
    assert "dropped" in refusal(lambda: len(other))
    assert tm.tables() == []


def test_all_who_link_a_table_back_at_once_have_it() -> None:
    """One of them makes the copy; the others wait for that, and go over to it."""
    table = filled(heir="manager")
    table.insert([(("large", number), "z" * 3000) for number in range(3000)])
    rows = len(table)

    def relink(pipe: Connection) -> tuple[str, int]:
        mine = tm.attach("t")
        pipe.send("ready")
        pipe.recv()
        return refusal(mine.relink), len(mine)

    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(relink)) for _ in range(3)]
        for child in children:
            child.receive()
        path_of(table).unlink()
        for child in children:
            child.send("go")
        assert [child.result() for child in children] == [("none", rows)] * 3
    assert len(table) == rows


def test_who_may_link_a_table_back() -> None:
    """Who may write to it; of another's table nobody else, unless nobody alive owns it."""
    owner = Child(own_protected)
    owner.receive()
    table = tm.attach("t")
    path_of(table).unlink()
    until_noticed(table)
    assert refusal(table.relink).startswith("AccessError")
    owner.kill()
    table.relink()
    assert list(table) == [("k", 1)]
    assert table.info().orphan


def own_protected(pipe: Connection) -> None:
    """In a child: own a table."""
    table = tm.create("t", heir="manager")
    table.insert(("k", 1))
    pipe.send("there")
    pipe.recv()


def test_without_an_heir_it_goes_with_its_owner_also_while_it_is_removed() -> None:
    """There is nothing to link back then."""

    def own(pipe: Connection) -> None:
        tm.create("t", access="public").insert(("k", 1))
        pipe.send("there")
        pipe.recv()

    with Child(own) as owner:
        owner.receive()
        table = tm.attach("t")
        path_of(table).unlink()
        owner.kill()
    assert refusal(table.relink).startswith("TableNotFoundError")
    assert tm.tables() == []


def test_root_links_a_users_table_back_as_that_users() -> None:
    """User and group of the segment stay what they were, so the user gets at it as before."""

    def own(pipe: Connection) -> Any:
        table = tm.create("t", access="public", heir="manager", mode=0o666)
        table.insert(("k", 1))
        pipe.send("there")
        pipe.recv()
        return table.lookup("k"), refusal(lambda: table.insert(("k", 2)))

    def as_somebody(pipe: Connection) -> Any:
        os.setgroups([])
        os.setgid(SOMEBODY)
        os.setuid(SOMEBODY)
        return own(pipe)

    as_user(SOMEBODY, lambda: None)  # skips where that cannot be
    with Child(as_somebody) as owner:
        owner.receive()
        table = tm.attach("t", readonly=False)
        path_of(table).unlink()
        until_noticed(table)
        table.relink()
        stat = path_of(table).stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (SOMEBODY, SOMEBODY, 0o666)
        owner.send()
        assert owner.result() == ([("k", 1)], "none")
    assert table.lookup("k") == [("k", 2)]


def count(pipe: Connection, me: int) -> int:
    """In a child: count in a row of its own, and link the table back when it is gone. How often it was told it did."""
    table = tm.attach("t")
    pipe.send("ready")
    counted = 0
    while not pipe.poll():
        try:
            table.update_counter(me, 1, (me, 0))
            counted += 1
        except tm.TableNotFoundError:
            with contextlib.suppress(tm.TableNotFoundError):
                table.relink()
    return counted


def test_who_has_linked_a_table_back_can_do_so_again_at_once() -> None:
    """Its handle is on what bears the name when the call returns: a removal before the next call loses nothing."""
    table = tm.create("t", access="public", heir="manager")
    table.insert(("k", 1))
    for _ in range(3):
        path_of(table).unlink()
        table.relink()
    assert table.lookup("k") == [("k", 1)]
    assert tm.attach("t").lookup("k") == [("k", 1)]


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_no_write_that_returned_is_lost_while_the_table_comes_and_goes(table_type: str) -> None:
    """Removed again and again, and linked back by all who have it: each writer is told the truth of its writes."""
    table = tm.create("t", type=table_type, access="public", heir="manager")
    path = path_of(table)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(count, me)) for me in range(3)]
        for child in children:
            child.receive()
        for _ in range(60):
            seen = sum_of(table)
            path.unlink()
            while not path.exists() or sum_of(table) <= seen:
                with contextlib.suppress(tm.TableNotFoundError):  # no writer may have been on it yet
                    table.relink()
        for child in children:
            child.send("enough")
        counted = {me: child.result() for me, child in enumerate(children)}
    with contextlib.suppress(tm.TableNotFoundError):
        table.relink()
    assert dict(table) == counted
    assert table.check() == []


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_threads_of_one_handle_go_over_together(table_type: str) -> None:
    """While some read, write and walk, and any of them links the table back; a fork in between gets a sound handle."""
    table = tm.create("t", type=table_type, access="public", heir="manager")
    path, ends = path_of(table), threading.Event()
    table.insert([(("fixed", number), number) for number in range(500)])

    def work(me: int) -> int:
        counted = 0
        while not ends.is_set():
            try:
                table.update_counter(me, 1, (me, 0))
                counted += 1
                assert len(table.match_object((("fixed", tm.ANY), tm.ANY))) == 500
                assert table.lookup(("fixed", 7)) == [(("fixed", 7), 7)]
            except tm.TableNotFoundError:
                with contextlib.suppress(tm.TableNotFoundError):
                    table.relink()
        return counted

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(work, me) for me in range(4)]
        for turn in range(40):
            seen = sum_of_counters(table)
            path.unlink()
            while not path.exists() or sum_of_counters(table) <= seen:
                os.sched_yield()
            if turn % 10 == 0:
                assert in_child(lambda: refusal(lambda: table.insert(("child", 1)))) == "none"
        ends.set()
        counted = {me: task.result() for me, task in enumerate(tasks)}
    with contextlib.suppress(tm.TableNotFoundError):
        table.relink()
    assert {me: table.lookup_element(me, 1) for me in counted} == counted
    assert table.check() == []


def sum_of_counters(table: tm.Table) -> int:
    """What the threads have counted; -1 while the table is away."""
    try:
        return sum(row[0][1] if row else 0 for row in table.lookup_many(range(4)))
    except tm.TableNotFoundError:
        return -1


def sum_of(table: tm.Table) -> int:
    """What all have counted; -1 while the table is away."""
    try:
        return sum(row[1] for row in table)
    except tm.TableNotFoundError:
        return -1


def test_relinkers_may_be_killed() -> None:
    """At any moment of it, some more at once: another one finishes, and nothing is missing."""
    chance = generator(11)
    table = filled(heir="manager")
    table.insert([(("large", number), "z" * 3000) for number in range(1000)])
    rows = len(table)

    def relink(pipe: Connection) -> None:
        mine = tm.attach("t")
        pipe.send("ready")
        pipe.recv()
        mine.relink()
        pipe.send("done")
        signal.pause()

    for turn in range(25):
        children = [Child(relink) for _ in range(2)]
        for child in children:
            child.receive()
        path_of(table).unlink()
        for child in children:
            child.send("go")
        for _ in range(chance.randrange(4000)):
            os.getppid()
        for child in children:
            child.kill()
        table.relink()
        assert len(table) == rows + turn
        table.insert((("turn", turn), turn))
        assert len(tm.attach("t")) == rows + turn + 1
    assert table.check() == []
    assert [entry for entry in os.listdir("/dev/shm") if table.instance in entry] == [path_of(table).name]
