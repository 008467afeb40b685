# SPDX-License-Identifier: Apache-2.0
"""Tables as wholes: create, attach, list, rename, close, drop, pickle."""

import copy
import gc
import os
import pickle
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import Child, in_child
from tests.support.interrupt import interrupted


def mappings(inode: int) -> int:
    """How many mappings of the segment with this inode number the process has."""
    with open("/proc/self/maps") as maps:
        return sum(line.split()[4] == str(inode) for line in maps)


def test_create_makes_an_empty_table_of_this_process(instance: str) -> None:
    """What info says of a fresh table."""
    before = time.time()
    table = tm.create("t", keypos=2, access="private", max_bytes=1 << 20, mode=0o640)
    info = table.info()
    assert (info.name, info.instance, info.type, info.access) == ("t", instance, "set", "private")
    assert (info.keypos, info.codec, info.rows, info.mode, info.max_bytes) == (2, "msgpack", 0, 0o640, 1 << 20)
    assert info.owner is not None
    assert (info.owner.pid, info.owner.alive) == (os.getpid(), True)
    assert info.heir is None
    assert before - 1 < info.created < time.time() + 1
    assert (info.repairs, info.last_repair, info.damaged, info.orphan) == (0, None, None, False)
    assert 0 < info.bytes_reserved <= 1 << 20
    assert (table.inherited, table.transfer, table.keypos, table.codec, table.instance) == (
        False,
        None,
        2,
        "msgpack",
        instance,
    )


def test_info_counts_rows_and_bytes() -> None:
    """Rows, bytes in use and bytes held by the segment grow with the table, and are true to what the kernel says."""
    table = tm.create("t")
    empty = table.info()
    table.insert([(n, "x" * 100) for n in range(10_000)])
    full = table.info()
    assert full.rows == 10_000
    assert full.bytes_used > empty.bytes_used + 1_000_000
    assert full.bytes_reserved >= full.bytes_used
    assert full.max_bytes > full.bytes_reserved
    stat = os.stat(f"/dev/shm/tablemgr.{table.instance}.t")
    assert full.bytes_reserved == stat.st_blocks * 512


def test_a_name_is_taken_once(instance: str) -> None:
    """The second creator gets TableExistsError; in another instance the name is free."""
    tm.create("t")
    with pytest.raises(tm.TableExistsError, match="'t'"):
        tm.create("t")
    other = tm.create("t", instance=instance + "-other")
    other.drop()


def test_attach_finds_the_table_by_name() -> None:
    """Two handles of one table see each other's rows; without a table: TableNotFoundError that names it."""
    table = tm.create("t", access="public")
    other = tm.attach("t")
    other.insert(("k", 1))
    assert table.lookup("k") == [("k", 1)]
    with pytest.raises(tm.TableNotFoundError, match="'nope'"):
        tm.attach("nope")
    with pytest.raises(LookupError):
        tm.attach("nope")


def test_attach_changes_nothing_about_the_segment() -> None:
    """Not its times, not its size, not its owner."""
    table = tm.create("t", access="public")
    path = f"/dev/shm/tablemgr.{table.instance}.t"
    before, info = os.stat(path), table.info()
    tm.attach("t").close()
    after = os.stat(path)
    assert (before.st_mtime_ns, before.st_size, before.st_blocks) == (after.st_mtime_ns, after.st_size, after.st_blocks)
    assert table.info() == info


def test_a_readonly_handle_reads_and_does_not_write() -> None:
    """Its writes raise AccessError, and its mapping has no right to write."""
    table = tm.create("t", access="public")
    table.insert(("k", 1))
    with tm.attach("t", readonly=True) as reader:
        assert reader.lookup("k") == [("k", 1)]
        assert reader.check() == []
        for write in (lambda: reader.insert(("k", 2)), lambda: reader.delete("k"), reader.delete_all, reader.drop):
            with pytest.raises(tm.AccessError):
                write()
        path = f"tablemgr.{table.instance}.t"
        with open("/proc/self/maps") as maps:
            rights = {line.split()[1] for line in maps if path in line}
        assert "r--s" in rights
    assert table.lookup("k") == [("k", 1)]


def test_tables_lists_by_name(instance: str) -> None:
    """Every table of the instance, private ones too, and none of another."""
    assert tm.tables() == []
    tm.create("b", access="private")
    tm.create("a").insert(("k", 1))
    other = tm.create("c", instance=instance + "-other")
    assert [info.name for info in tm.tables()] == ["a", "b"]
    assert [info.name for info in tm.tables(instance + "-other")] == ["c"]
    assert tm.tables()[0].rows == 1
    other.drop()


def test_rename_moves_the_name_and_keeps_handles() -> None:
    """Open handles of any process go on; the old name is free, the new one taken."""
    table = tm.create("old", access="public")
    other = tm.attach("old")
    table.insert(("k", 1))
    table.rename("new")
    assert table.name == other.name == "new"
    assert other.lookup("k") == [("k", 1)]
    assert tm.attach("new").lookup("k") == [("k", 1)]
    with pytest.raises(tm.TableNotFoundError):
        tm.attach("old")
    tm.create("old")
    with pytest.raises(tm.TableExistsError, match="'old'"):
        table.rename("old")
    table.rename("new")
    other.rename("newer")
    assert [info.name for info in tm.tables()] == ["newer", "old"]
    assert pickle.loads(pickle.dumps(table)).name == "newer"
    table.drop()
    assert [info.name for info in tm.tables()] == ["old"]


def test_a_closed_handle_refuses_everything_but_close(instance: str) -> None:
    """TableClosedError that names the table; the table itself stays; close is idempotent."""
    table = tm.create("t", access="public")
    table.insert(("k", 1))
    handle = tm.attach("t")
    handle.close()
    handle.close()
    assert handle.closed
    assert handle.name == "t"
    assert "closed" in repr(handle)
    calls: list[Any] = [
        lambda: handle.lookup("k"),
        lambda: handle.lookup(object()),
        lambda: "k" in handle,
        lambda: len(handle),
        lambda: list(handle),
        lambda: handle.insert(("k", 1)),
        lambda: handle.insert([object()]),  # type: ignore[list-item] # closed comes before wrong
        lambda: handle.update_counter("k", "wrong"),
        lambda: handle.take("k"),
        lambda: handle.first(),
        lambda: handle.next("k"),
        lambda: handle.lookup_many(["k"]),
        lambda: handle.delete_all(),
        lambda: handle.compare_and_swap(("k", 1), ("k", 2)),
        lambda: handle.info(),
        lambda: handle.check(),
        lambda: handle.drop(),
        lambda: handle.rename("x"),
        lambda: handle.setopts(access="nonsense"),
        lambda: handle.give_away("nonsense"),  # closed comes before wrong
    ]
    for call in calls:
        with pytest.raises(tm.TableClosedError, match="'t'"):
            call()
    with pytest.raises(tm.TableClosedError), handle.atomic() as tx:
        tx.insert(("k", 2))
    assert table.lookup("k") == [("k", 1)]


def test_with_closes() -> None:
    """A table is a context manager of its handle."""
    with tm.create("t") as table:
        assert not table.closed
    assert table.closed
    assert tm.attach("t").name == "t"


def test_a_handle_of_no_use_cannot_be_entered() -> None:
    """A closed one, or one whose table was dropped: the block does not run. A private table's is of some use."""
    table = tm.create("t", access="public")
    closed, orphaned = tm.attach("t"), tm.attach("t")
    closed.close()
    with pytest.raises(tm.TableClosedError, match="with: this handle of table 't' is closed"), closed:
        pytest.fail("the block ran")
    table.drop()
    for handle in (table, orphaned):
        with pytest.raises(tm.TableNotFoundError, match="with: there is no table 't' any more"), handle:
            pytest.fail("the block ran")
    tm.create("p", access="private")
    assert in_child(_type_within_a_block, "p") == "set"


def _type_within_a_block(name: str) -> str:
    with tm.attach(name) as table, pytest.raises(tm.AccessError):
        table.lookup(1)
    with tm.attach(name) as table:
        return table.info().type


def test_garbage_collection_closes(instance: str) -> None:
    """A handle that nobody refers to is unmapped at once, no cycle keeps it."""
    gc.disable()
    try:
        table = tm.create("t")
        rows = iter(table)
        inode = os.stat(f"/dev/shm/tablemgr.{instance}.t").st_ino
        assert mappings(inode) > 0
        gone = weakref.ref(table)
        del table
        assert gone() is None
        del rows
        assert mappings(inode) == 0
    finally:
        gc.enable()


def test_an_iterator_outlives_its_table_object() -> None:
    """iter(attach(...)) works: the iterator keeps the handle."""
    tm.create("t").insert([(n,) for n in range(1000)])
    assert len(list(tm.attach("t"))) == 1000


def test_drop_removes_the_table_for_everybody() -> None:
    """Other handles get TableNotFoundError at their next call; dropping again is no error."""
    table = tm.create("t", access="public")
    other = tm.attach("t")
    table.insert(("k", 1))
    table.drop()
    table.drop()
    assert tm.tables() == []
    for handle in (table, other):
        for call in (
            lambda handle=handle: handle.lookup("k"),
            lambda handle=handle: handle.insert(("k", 1)),
            lambda handle=handle: handle.insert("wrong"),
            lambda handle=handle: len(handle),
            lambda handle=handle: handle.info(),
            lambda handle=handle: handle.rename("x"),
            lambda handle=handle: handle.setopts(heir="manager"),
        ):
            with pytest.raises(tm.TableNotFoundError, match="'t'"):
                call()
    other.drop()
    fresh = tm.create("t")
    assert fresh.lookup("k") == []
    assert fresh.info().rows == 0


def test_drop_by_name(instance: str) -> None:
    """tm.drop removes it, or says that there is no such table."""
    tm.create("t")
    tm.drop("t")
    with pytest.raises(tm.TableNotFoundError, match="^drop: .*'t'"):
        tm.drop("t")
    with pytest.raises(tm.TableNotFoundError, match="^drop: .*'t'"):
        tm.drop("t", force=True)


def test_a_segment_that_was_removed_by_hand_is_noticed() -> None:
    """rm of the file is like a drop for those who open the table, and no error for those who close it."""
    table = tm.create("t")
    os.unlink(f"/dev/shm/tablemgr.{table.instance}.t")
    with pytest.raises(tm.TableNotFoundError):
        tm.attach("t")
    table.drop()
    table.close()


def test_a_table_pickles_as_its_name() -> None:
    """With its instance and codec; a copy is another handle of the same table."""
    table = tm.create("t", access="public", codec="pickle", lock_timeout=3.5)
    for again in (pickle.loads(pickle.dumps(table)), copy.copy(table)):
        assert again is not table
        assert (again.name, again.instance, again.codec, again.lock_timeout) == (
            table.name,
            table.instance,
            "pickle",
            3.5,
        )
        again.insert(("k", complex(1)))
        assert table.take("k") == [("k", complex(1))]
    message = pickle.dumps(table)
    table.drop()
    with pytest.raises(tm.TableNotFoundError):
        pickle.loads(message)


def test_attaching_with_another_codec_is_refused() -> None:
    """Unpickling happens only where it was asked for, and a msgpack table is no pickle table."""
    tm.create("m")
    tm.create("p", codec="pickle")
    with pytest.raises(tm.TableMismatchError, match="codec='pickle'"):
        tm.attach("p")
    with pytest.raises(tm.TableMismatchError):
        tm.attach("m", codec="pickle")


def test_a_table_without_an_heir_goes_with_its_owner(instance: str) -> None:
    """It is gone for attach, create and the list, which remove it; an open handle is told at its next call."""
    attached: list[tm.Table] = []

    def owner(pipe: Any) -> None:
        table = tm.create("t", access="public")
        table.insert(("k", 1))
        pipe.send("made")
        pipe.recv()

    with Child(owner) as child:
        child.receive()
        attached.append(tm.attach("t"))
        assert attached[0].lookup("k") == [("k", 1)]
        child.kill()
        assert tm.tables() == []
        assert not os.path.exists(f"/dev/shm/tablemgr.{instance}.t")
        with pytest.raises(tm.TableNotFoundError):
            attached[0].lookup("k")
    with Child(owner) as child:
        child.receive()
        child.kill()
        with pytest.raises(tm.TableNotFoundError):
            tm.attach("t")
    with Child(owner) as child:
        child.receive()
        child.kill()
        assert tm.create("t").lookup("k") == []


NEXT_CALLS: dict[str, Callable[[tm.Table], object]] = {
    "info": tm.Table.info,
    "setopts": lambda table: table.setopts(access="public"),
    "setopts of nothing": tm.Table.setopts,
    "give_away": lambda table: table.give_away(os.getppid()),
    "give_away to nobody": lambda table: table.give_away("nobody"),
    "rename": lambda table: table.rename("other"),
    "rename to what is no name": lambda table: table.rename(""),
    "relink": tm.Table.relink,
    "check": tm.Table.check,
    "len": len,
    "lookup": lambda table: table.lookup("k"),
    "insert": lambda table: table.insert(3),  # type: ignore[arg-type]  # comes after what is tested
    "delete_all": tm.Table.delete_all,
    "save": lambda table: tm.save(table, "/dev/null"),
    "add_table": tm.add_table,
    "del_table": tm.del_table,
    "abandon_table": tm.abandon_table,
}


@pytest.mark.parametrize("readonly", [None, True])
@pytest.mark.parametrize("verb", NEXT_CALLS)
def test_the_next_call_on_a_table_that_went_with_its_owner_finds_none(verb: str, readonly: bool | None) -> None:
    """Whichever call it is, and however soon: that the table is gone comes before what this process may do with it."""

    def owner(pipe: Any) -> None:
        tm.create("t", access="private")
        pipe.send("made")
        pipe.recv()

    with Child(owner) as child:
        child.receive()
        table = tm.attach("t", readonly=readonly)
        child.kill()
        with pytest.raises(tm.TableNotFoundError, match="'t' any more: it was dropped, or went with its owner"):
            NEXT_CALLS[verb](table)


@pytest.mark.parametrize("readonly", [None, True])
def test_a_table_that_is_gone_may_be_dropped_through_any_handle(readonly: bool | None) -> None:
    """Nothing is left to do, nor to forbid: with its owner it went, or another dropped it."""

    def owner(pipe: Any) -> None:
        tm.create("went", access="private")
        pipe.send("made")
        pipe.recv()

    with Child(owner) as child:
        child.receive()
        went = tm.attach("went", readonly=readonly)
        child.kill()
        went.drop()
    with pytest.raises(tm.TableNotFoundError):
        went.info()
    tm.create("dropped")
    dropped = tm.attach("dropped", readonly=readonly)
    tm.drop("dropped")
    dropped.drop()
    assert tm.tables() == []


def test_a_table_with_an_heir_stays_when_its_owner_dies() -> None:
    """An orphan: attachable with its rows, listed as one, and anybody may drop it, protected or not."""
    in_child(lambda: tm.create("t", heir="manager", access="protected").insert([(n,) for n in range(100)]))
    assert [info.orphan for info in tm.tables()] == [True]
    table = tm.attach("t")
    assert len(table) == 100
    with pytest.raises(tm.AccessError):
        table.insert(("k",))
    table.drop()
    assert tm.tables() == []


def test_a_child_of_fork_is_another_process() -> None:
    """It uses the inherited handle, but is not the owner."""
    table = tm.create("t", access="protected")
    table.insert(("k", 1))

    def in_fork() -> tuple[Any, str]:
        try:
            table.insert(("k", 2))
        except tm.AccessError as error:
            return table.lookup("k"), str(error)
        return None, ""

    rows, message = in_child(in_fork)
    assert rows == [("k", 1)]
    assert str(os.getpid()) in message
    assert table.lookup("k") == [("k", 1)]


def test_of_many_creators_one_wins() -> None:
    """Children that start together create one table; each of the others gets TableExistsError."""

    def create(pipe: Any) -> str:
        pipe.recv()
        try:
            tm.create("t", heir="manager", access="public").insert(("by", os.getpid()))
        except tm.TableExistsError:
            return "exists"
        return "created"

    children = [Child(create) for _ in range(8)]
    for child in children:
        child.send()
    results = [child.result() for child in children]
    assert results.count("created") == 1
    winner = children[results.index("created")].pid
    assert tm.attach("t").lookup("by") == [("by", winner)]
    for child in children:
        child.kill()


@pytest.mark.parametrize("function", ["tmgr_create", "tmgr_attach"])
def test_an_interrupt_that_comes_with_the_handle_leaves_no_mapping(instance: str, function: str) -> None:
    """A signal handler that raises runs as soon as the core has returned, before anybody has what it made."""

    def mapped() -> int:
        with open("/proc/self/maps") as maps:
            return sum("tablemgr" in line or "/dev/shm" in line for line in maps)

    tm.create("there").close()
    before = mapped(), len(os.listdir("/proc/self/fd"))
    with interrupted(function):
        tm.create("new") if function == "tmgr_create" else tm.attach("there")
    gc.collect()  # from Python 3.13 on the exception that was caught is part of a cycle
    assert (mapped(), len(os.listdir("/proc/self/fd"))) == before
