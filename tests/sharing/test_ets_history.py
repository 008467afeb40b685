# SPDX-License-Identifier: Apache-2.0
"""What broke ETS itself over the years, tried on tables with real processes: each is a bug of OTP's history.

Its tickets are named where they are known. Two have nothing to try here: no table is compressed, and a key is no list.
"""

import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

import tablemgr as tm
from tablemgr.segments import TYPES
from tests.support.child import Child
from tests.support.soak import generator

BAGS = [each for each in TYPES if "bag" in each]
ROWS = 200  # of a list that is inserted in one step


def insert_lists(pipe: Connection, name: str) -> tuple[int, str]:
    """List after list, until told to stop or until the table is gone. Returns how many, and what ended it."""
    table = tm.attach(name)
    version = 0
    pipe.send("ready")
    while not pipe.poll():
        version += 1
        try:
            table.insert([(number, version) for number in range(ROWS)])
        except tm.TableNotFoundError as error:
            return version, type(error).__name__
    return version, "told to"


def is_whole(table: tm.Table) -> bool:
    """Whether what is in it is one list: one version in all rows, or nothing."""
    rows = list(table)
    return len(rows) in (0, ROWS) and len({row[1] for row in rows}) <= 1


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_a_list_goes_into_no_other_table_when_its_own_is_renamed(table_type: str) -> None:
    """OTP-18284: a writer's handle goes on with its table under any name; one that has the old name gets nothing."""
    table = tm.create("a", type=table_type, access="public")
    with Child(insert_lists, "a") as writer:
        writer.receive()
        for _ in range(15):
            table.rename("b")
            decoy = tm.create("a", type=table_type, access="public")
            before = table.lookup_element(0, 1, 0)
            while table.lookup_element(0, 1, 0) == before:
                os.sched_yield()
            assert len(decoy) == 0
            decoy.drop()
            table.rename("a")
            assert len(table) == ROWS
        writer.send("enough")
        version, end = writer.result()
    assert end == "told to"
    assert is_whole(table)
    assert table.lookup(0) == [(0, version)]


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_a_list_of_a_dropped_table_is_refused_and_in_no_other(table_type: str) -> None:
    """OTP-18284: the writer is told that its table is gone; a new one of that name holds what it was given only."""
    for _ in range(6):
        table = tm.create("t", type=table_type, access="public")
        with Child(insert_lists, "t") as writer:
            writer.receive()
            while not table.lookup(ROWS - 1):
                assert len(table) in (0, ROWS)
            table.drop()
            new = tm.create("t", type=table_type, access="public")
            assert writer.result()[1] == "TableNotFoundError"
        assert len(new) == 0
        new.drop()


@pytest.mark.parametrize("heir", [None, "manager"])
@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_a_list_is_whole_when_the_owner_dies(table_type: str, heir: str | None) -> None:
    """OTP-18284: another process's insert is there wholly, or refused where the table goes with its owner."""

    def own(pipe: Connection) -> None:
        table = tm.create("t", type=table_type, access="public", heir=heir)
        pipe.send(len(table))
        pipe.recv()

    for _ in range(4):
        with Child(own) as owner:
            owner.receive()
            table = tm.attach("t")
            with Child(insert_lists, "t") as writer:
                writer.receive()
                while not table.lookup(ROWS - 1):
                    os.sched_yield()
                owner.kill()
                if heir is None:
                    assert writer.result()[1] == "TableNotFoundError"
                    with pytest.raises(tm.TableNotFoundError):
                        tm.attach("t")
                else:
                    before = table.lookup_element(0, 1)
                    while table.lookup_element(0, 1) == before:
                        os.sched_yield()
                    writer.kill()
                    assert is_whole(table)
                    assert table.check() == []
                    tm.drop("t")


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_a_busy_table_is_there(table_type: str) -> None:
    """OTP-18218: listed, attached and described at any moment of long inserts and of their deletion, its size exact."""
    table = tm.create("busy", type=table_type, access="public")
    rows = 3000

    def work(pipe: Connection) -> None:
        mine = tm.attach("busy")
        pipe.send("ready")
        while not pipe.poll():
            mine.insert([(number, "x" * 20) for number in range(rows)])
            mine.delete_all()

    with Child(work) as worker:
        worker.receive()
        seen = set()
        for _ in range(60):
            assert [info.name for info in tm.tables()] == ["busy"]
            with tm.attach("busy") as other:
                seen |= {other.info().rows, len(other)}
        while len(seen) < 2:
            seen.add(len(table))
        worker.send("enough")
        worker.result()
    assert seen == {0, rows}


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_an_update_that_fails_with_a_default_adds_no_row(table_type: str) -> None:
    """OTP-16404: the size counts what is there, however many processes fail with defaults in whatever way."""
    table = tm.create("t", type=table_type, access="public")
    good = 200

    def work(pipe: Connection, me: int) -> None:
        pipe.recv()
        for number in range(good):
            key = (me, number)
            for op, default, error in (
                (1, (0, "text"), TypeError),
                ((9, 1), (0, 1), IndexError),
                ((0, 1), (0, 1), ValueError),
                ([(1, 5), (2, 1)], (0, 1, 1.5), TypeError),
                ([(1, 5), (7, 1)], (0, 1), IndexError),
            ):
                with pytest.raises(error):
                    table.update_counter(key, op, default)
            with pytest.raises(IndexError):
                table.update_element(key, (5, 1), (0, 1))
            assert key not in table
            assert table.update_counter(key, 1, (0, 1)) == 2

    children = [Child(work, me) for me in range(3)]
    for child in children:
        child.send()
    for child in children:
        child.result()
        child.kill()
    assert len(table) == len(list(table)) == table.info().rows == 3 * good
    assert table.check() == []


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_a_continuation_ends_with_its_table_and_not_with_its_name(table_type: str) -> None:
    """OTP-15031: after a rename it goes on; after a drop it is refused, in another process and with a new table too."""
    table = tm.create("t", type=table_type, access="public")
    table.insert([(number, number) for number in range(100)])

    def go_on(pipe: Connection) -> list[str]:
        mine, answers = tm.attach("t"), []
        continuation = pipe.recv()
        for _ in range(2):
            pipe.send("ready")
            pipe.recv()
            try:
                rows, continuation = mine.select(continuation)
                answers.append(f"{len(rows)} rows")
            except tm.TableNotFoundError:
                answers.append("gone")
        return answers

    _, continuation = table.select(tm.Clause(tm.ANY), limit=30)
    with Child(go_on) as child:
        child.send(continuation)
        child.receive()
        table.rename("other")
        child.send()
        child.receive()
        tm.attach("other").drop()
        new = tm.create("t", type=table_type, access="public")
        new.insert([(number, "new") for number in range(100)])
        child.send()
        assert child.result() == ["30 rows", "gone"]
    with pytest.raises(tm.TableNotFoundError):
        table.select(continuation)


def iterate(pipe: Connection, name: str, kind: str) -> int:
    """A traversal of one kind that pauses after its first row until told to go on. Returns how many rows it saw."""
    rows = traversals(tm.attach(name))[kind]()
    next(rows)
    pipe.send("under way")
    pipe.recv()
    return 1 + sum(1 for _ in rows)


def traversals(table: tm.Table) -> dict[str, Callable[[], Iterator[Any]]]:
    """The ways to go through a table."""

    def by_steps() -> Iterator[Any]:
        key = table.first()
        while key is not tm.END:
            yield key
            key = table.next(key)

    def by_chunks() -> Iterator[Any]:
        chunk, continuation = table.select(tm.Clause(tm.ANY), limit=7)
        yield from chunk
        while continuation is not tm.END:
            chunk, continuation = table.select(continuation)
            yield from chunk

    return {"iteration": lambda: iter(table), "steps": by_steps, "chunks": by_chunks}


@pytest.mark.parametrize("kind", ["iteration", "steps", "chunks"])
@pytest.mark.parametrize("table_type", TYPES)
def test_a_traversal_that_never_ends_holds_nothing(table_type: str, kind: str) -> None:
    """OTP-15672, OTP-12870: nothing is fixed by a traversal, whoever owns the table by then and whether it ends or is
    killed: what is deleted meanwhile is gone, its memory is used again, and no stray row comes back."""
    table = tm.create("t", type=table_type, access="public", heir="manager")
    rows = [(number, "x" * 100) for number in range(2000)]

    def fill_and_empty() -> None:
        table.insert(rows)
        assert table.delete_many(range(0, 2000, 2)) == 1000
        assert sum(table.delete_object(row) for row in rows[1::2]) == 1000
        assert (len(table), list(table), table.first()) == (0, [], tm.END)

    fill_and_empty()
    reserved = table.info().bytes_reserved
    table.insert(rows)
    with Child(iterate, "t", kind) as killed, Child(iterate, "t", kind) as alive:
        killed.receive()
        alive.receive()
        table.give_away(alive.pid)  # the owner changes in the middle of it
        assert table.delete_many(range(2000)) == 2000
        for _ in range(5):
            fill_and_empty()
        killed.kill()
        fill_and_empty()
        table.insert(("last", 1))
        alive.send()
        assert alive.result() < 2000
        assert len(table) == 1
        assert table.check() == []
        assert table.info().bytes_reserved <= reserved * 1.5


@pytest.mark.parametrize("table_type", BAGS)
def test_a_bag_keeps_its_order_through_growth_and_lists(table_type: str) -> None:
    """otp_5340, GH-6730: the rows of a key come in the order of insertion while the table grows a hundredfold."""
    table = tm.create("t", type=table_type, access="public")

    def grow(pipe: Connection) -> None:
        mine = tm.attach("t")
        for number in range(200):
            mine.insert([(f"{number} {n}", n) for n in range(100)])

    def read(pipe: Connection) -> None:
        mine = tm.attach("t", readonly=True)
        while not pipe.poll():
            for key in range(10):
                numbers = [row[1] for row in mine.lookup(key)]
                assert numbers == sorted(numbers)

    with Child(grow) as grower, Child(read) as reader:
        for number in range(0, 300, 3):
            for key in range(10):
                table.insert((key, number))
                table.insert([(key, number + 1), (key, number + 2)])
        grower.result()
        reader.send("enough")
        reader.result()
    for key in range(10):
        assert table.lookup(key) == [(key, number) for number in range(300)]
    assert table.check() == []


@pytest.mark.parametrize("table_type", BAGS)
def test_a_bag_under_a_traversal_is_emptied_by_object_and_by_key(table_type: str) -> None:
    """otp_7665: delete_object and then delete leave nothing, in every order of the objects."""
    chance = generator(7)
    table = tm.create("t", type=table_type, access="public")
    for _ in range(20):
        objects = [(key, number) for key in range(5) for number in range(6)]
        table.insert(objects)
        with Child(iterate, "t", "steps") as child:
            child.receive()
            gone = chance.sample(objects, chance.randrange(len(objects)))
            for row in gone:
                assert table.delete_object(row) == 1
            for key in chance.sample(range(5), 5):
                assert table.delete(key) == sum(row[0] == key for row in objects if row not in gone)
            assert (len(table), list(table), table.first()) == (0, [], tm.END)
            child.send()
            child.result()
    assert table.check() == []


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
def test_steps_go_on_over_rows_that_are_replaced(table_type: str) -> None:
    """OTP-15346: walks in both directions meet each key once while another process replaces all rows all the time."""
    table = tm.create("t", type=table_type, access="public")
    table.insert([(number, 0, "x" * (number % 90)) for number in range(300)])
    key, count, text = tm.vars(3)

    def replace(pipe: Connection) -> int:
        mine, rounds = tm.attach("t"), 0
        while not pipe.poll():
            assert mine.select_replace(tm.Clause((key, count, text), body=(key, count + 1, text))) == 300
            rounds += 1
            pipe.send(rounds)
        return rounds

    with Child(replace) as replacer:
        for _ in range(10):
            replacer.receive()
            walked = list(traversals(table)["steps"]())
            back, at = [], table.last()
            while at is not tm.END:
                back.append(at)
                at = table.prev(at)
            assert walked == back[::-1]
            assert sorted(walked) == list(range(300))
        replacer.send("enough")
        rounds = replacer.result()
    assert {row[1] for row in table} == {rounds}
    assert table.check() == []


@pytest.mark.parametrize("table_type", TYPES)
def test_a_select_with_an_empty_key_ends(table_type: str) -> None:
    """otp_8732: keys that have nothing in them, bound, in part or not, with limits and backwards."""
    table = tm.create("t", type=table_type, access="public")
    empty: list[Any] = [(), ((),), ((), ()), "", b"", None, ("",), (None,), 0, False]
    table.insert([(key, number) for number, key in enumerate(empty)])
    v1 = tm.var(1)
    for number, key in enumerate(empty):
        for head in ((key, v1), (key, number), (key, tm.ANY)):
            assert table.select(tm.Clause(head)) == [(key, number)]
            for limit in (1, 2):
                rows, continuation = table.select(tm.Clause(head), limit=limit, reverse=bool(number % 2))
                assert (rows, continuation) == ([(key, number)], tm.END)
    assert sorted(table.select(tm.Clause(((v1,), tm.ANY), body=v1)), key=repr) == ["", (), None]
    assert table.select(tm.Clause((((), v1), tm.ANY), body=v1)) == [()]
    assert table.select_count(tm.Clause(tm.ANY, body=True)) == len(empty)
    assert table.select_delete(*(tm.Clause((key, tm.ANY), body=True) for key in empty)) == len(empty)
    assert table.first() is tm.END


@pytest.mark.parametrize("table_type", TYPES)
def test_a_dict_in_a_pattern_is_never_a_literal(table_type: str) -> None:
    """GH-8385: it matches dicts with more in them, beside a bound key too; in a key it is refused, as a pattern it
    matches nothing there."""
    table = tm.create("t", type=table_type, access="public")
    table.insert([(number, {"a": number, "b": {"c": [number]}}) for number in range(10)])
    table.insert((("key", 1), {"a": 1}))
    v1 = tm.var(1)
    assert table.match((3, {"a": v1})) == [(3,)]
    assert table.match((3, {"b": {"c": [v1]}})) == [(3,)]
    assert table.match((3, {})) == [()]
    assert table.match((3, {"a": 4})) == []
    assert sorted(table.match((v1, {"b": {}}))) == [(number,) for number in range(10)]
    assert table.match(({"a": 1}, tm.ANY)) == table.match((("key", {}), tm.ANY)) == []
    for verb in (lambda: table.insert(({"a": 1}, 1)), lambda: table.lookup({}), lambda: table.insert((("key", {}), 1))):
        with pytest.raises(TypeError):
            verb()


@pytest.mark.parametrize("kind", ["iteration", "steps", "chunks"])
@pytest.mark.parametrize("table_type", TYPES)
def test_dropping_a_table_under_its_readers_ends_them_with_an_exception(table_type: str, kind: str) -> None:
    """OTP-15109, OTP-11892: those under way see what there was or TableNotFoundError, and none of them crashes."""

    def read(pipe: Connection) -> str:
        table = tm.attach("t")
        pipe.send("ready")
        while True:
            try:
                keys = [row if kind == "steps" else row[0] for row in traversals(table)[kind]()]
                assert sorted(keys) == list(range(1000))
            except tm.TableNotFoundError:
                return "gone"

    for _ in range(5):
        table = tm.create("t", type=table_type, access="public")
        table.insert([(number, "x" * 50) for number in range(1000)])
        with Child(read) as one, Child(read) as two:
            one.receive()
            two.receive()
            table.drop()
            assert (one.result(), two.result()) == ("gone", "gone")


@pytest.mark.parametrize("table_type", TYPES)
def test_what_rows_occupy_is_exact(table_type: str) -> None:
    """OTP-16874, GH-8682: however processes put in, change and remove rows of all lengths, an empty table is as small
    as before, and the sum of its parts is right."""
    table = tm.create("t", type=table_type, access="public")
    is_bag = table_type in BAGS

    def work(pipe: Connection, me: int) -> None:
        pipe.recv()
        chance = generator(me)
        for number in range(200):
            key = (me, number % 40)
            table.insert((key, number, "x" * chance.choice([0, 1, 50, 500, 5000, 50_000])))
            if not is_bag:
                table.update_element(key, (2, "y" * chance.randrange(3000)))
                table.update_counter(key, 2**70)
                assert table.lookup_element(key, 1) == number + 2**70
            if number % 3 == 0:
                table.delete((me, chance.randrange(40)))

    children = [Child(work, me) for me in range(3)]
    for child in children:
        child.send()
    for child in children:
        child.result()
        child.kill()
    assert table.check() == []
    assert table.delete_many([(me, number) for me in range(3) for number in range(40)]) > 0
    assert len(table) == 0
    table.delete_all()
    assert table.check() == []
    assert table.info().bytes_used < 10_000
