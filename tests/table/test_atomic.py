# SPDX-License-Identifier: Apache-2.0
"""Atomic blocks: recorded, run at the end, all or nothing."""

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm


@pytest.fixture
def table() -> tm.Table:
    """A table with two rows."""
    table = tm.create("t", access="public")
    table.insert([("a", 1), ("b", 2)])
    return table


def test_nothing_is_done_before_the_end_of_the_block(table: tm.Table) -> None:
    """Operations are recorded, return None, and run in order when the block ends."""
    with table.atomic() as tx:
        assert tx.insert(("c", 3)) is None  # type: ignore[func-returns-value] # that is the test
        tx.update_counter("c", 10)
        tx.delete("a")
        tx.update_element("b", (1, "two"))
        tx.insert_new(("b", "not taken"))
        tx.insert_new(("d", 4))
        tx.delete_object(("d", 5))
        tx.insert([("e", 5), ("f", 6)])
        tx.delete_object(("f", 6))
        assert sorted(table) == [("a", 1), ("b", 2)]
    assert sorted(table) == [("b", "two"), ("c", 13), ("d", 4), ("e", 5)]
    assert table.check() == []


def test_an_exception_in_the_block_undoes_it(table: tm.Table) -> None:
    """It passes through, and nothing was done."""
    with pytest.raises(ZeroDivisionError), table.atomic() as tx:
        tx.delete("a")
        raise ZeroDivisionError
    assert sorted(table) == [("a", 1), ("b", 2)]


def test_an_operation_that_fails_at_the_end_undoes_the_block(table: tm.Table) -> None:
    """What an operation has against the rows is raised at the end of the block."""
    for error, key, op in ((TypeError, "s", 1), (KeyError, "x", 1), (IndexError, "a", (7, 1))):
        with pytest.raises(error), table.atomic() as tx:
            tx.insert(("s", "no counter"))
            tx.delete("b")
            tx.update_counter(key, op)
    assert sorted(table) == [("a", 1), ("b", 2)]


def test_shapes_are_checked_when_recorded(table: tm.Table) -> None:
    """A mistake in the arguments is raised where it is made."""
    with table.atomic() as tx:
        tx.insert(("c", 3))
        for wrong in (["not", "rows"], "row", (object(),), ()):
            with pytest.raises((TypeError, ValueError)):
                tx.insert(wrong)  # type: ignore[arg-type] # that is the test
        with pytest.raises(TypeError):
            tx.update_counter("a", True)
        with pytest.raises(TypeError):
            tx.delete([1])
    assert sorted(table) == [("a", 1), ("b", 2), ("c", 3)]


CALLS: dict[str, Callable[[tm.Atomic], object]] = {
    "insert": lambda tx: tx.insert(rows=("a", 9)),
    "insert_new": lambda tx: tx.insert_new(rows=[("a", 9)]),
    "delete": lambda tx: tx.delete(key="a"),
    "delete_object": lambda tx: tx.delete_object(row=("a", 1)),
    "update_counter": lambda tx: tx.update_counter("a", default=("a", 0), op=1),
    "update_element": lambda tx: tx.update_element(key="a", spec=(1, 2)),
}


@pytest.mark.parametrize("verb", CALLS)
def test_a_block_is_of_no_use_outside(table: tm.Table, verb: str) -> None:
    """Before its begin and after its end each method raises RuntimeError; it cannot begin again."""
    outside = r"between its begin and its end only: with table\.atomic\(\) as tx"
    block = table.atomic()
    with pytest.raises(RuntimeError, match=outside):
        CALLS[verb](block)
    with pytest.raises(RuntimeError, match=outside):
        block.__exit__(None, None, None)
    with block as tx:
        assert tx is block
        assert CALLS[verb](tx) is None
    for _ in range(2):
        with pytest.raises(RuntimeError, match=outside):
            CALLS[verb](tx)
        with pytest.raises(RuntimeError, match="runs once"), block:
            pass
        with pytest.raises(RuntimeError, match=outside):
            block.__exit__(None, None, None)
    with pytest.raises(ZeroDivisionError), table.atomic() as tx:
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match=outside):
        CALLS[verb](tx)
    assert table.check() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tx: tx.insert(), "insert: the argument 'rows' is missing"),
        (lambda tx: tx.insert(row=("a", 1)), "insert: there is no argument 'row'"),
        (lambda tx: tx.insert(("a", 1), ("b", 1)), "insert: 1 arguments at most, not 2"),
        (lambda tx: tx.insert_new(1), "insert_new: .*a row is a tuple"),
        (lambda tx: tx.delete("a", key="a"), "delete: twice the argument 'key'"),
        (lambda tx: tx.delete_object(["a"]), "delete_object: .*a row is a tuple"),
        (lambda tx: tx.update_counter("a"), "update_counter: the argument 'op' is missing"),
        (lambda tx: tx.update_counter("a", 1, None), "update_counter: .*the default is a row"),
        (lambda tx: tx.update_element("a", default=("a",)), "update_element: the argument 'spec' is missing"),
    ],
)
def test_wrong_arguments_are_refused_by_the_verbs_name(
    table: tm.Table, call: Callable[[tm.Atomic], object], message: str
) -> None:
    """TypeError, and the block goes on as if it had not been called."""
    with table.atomic() as tx:
        tx.update_counter("a", 1)
        with pytest.raises(TypeError, match=message):
            call(tx)
        tx.update_counter("a", 1)
    assert sorted(table) == [("a", 3), ("b", 2)]


def test_a_record_that_fails_leaves_nothing_behind(table: tm.Table) -> None:
    """However much of it was good before what was wrong: those before and after it are as they were recorded."""
    with table.atomic() as tx:
        tx.update_counter("n", 1, ("n", 0))
        for _ in range(3):
            with pytest.raises(TypeError):
                tx.insert([*[(key, "x" * 5000) for key in "abcdefgh"], ("a", object())])
            with pytest.raises(TypeError):
                tx.insert_new([("new", 1), ("b", object())])
            with pytest.raises(TypeError):
                tx.update_element("n", [(0, "y" * 5000), (1, object())])
            with pytest.raises(TypeError):
                tx.update_counter("n", [(1, 5), (1, 5)], ("n", 0, object()))
            tx.update_counter("n", 1)
            tx.insert_new([("c", 1), ("d", 2)])
            tx.delete("c")
    assert sorted(table) == [("a", 1), ("b", 2), ("d", 2), ("n", 4)]
    assert table.check() == []


@pytest.mark.parametrize("key", ["x", 1, 1.5, ("x", (1, None)), b"x", None, True, 2**70], ids=repr)
def test_a_missing_row_is_told_by_its_key(table: tm.Table, key: object) -> None:
    """The argument of the KeyError is the key, of its type; the message names the verb and the table."""
    with pytest.raises(KeyError, match="update_counter: table 't'") as caught, table.atomic() as tx:
        tx.insert(("before", 1))
        tx.update_counter("a", 1)
        tx.update_element("absent", (1, 5))
        tx.update_counter(key, [(1, 5)])
        tx.update_counter("behind", 1)
    [named] = caught.value.args
    assert (type(named), named) == (type(key), key)
    assert sorted(table) == [("a", 1), ("b", 2)]


def test_blocks_are_made_by_their_table_only(table: tm.Table) -> None:
    """Not of anything else, nor copied, nor pickled."""
    for wrong in ((), (1,), (table,), (table, 1)):
        with pytest.raises(TypeError):
            tm.Atomic(*wrong)
        with pytest.raises(TypeError):
            tm.Atomic.__new__(tm.Atomic, *wrong)
    with pytest.raises(TypeError):
        object.__new__(tm.Atomic)
    blocks = [table.atomic(), table.atomic(), table.atomic()]
    blocks[1].__enter__()
    blocks[2].__enter__().__exit__(None, None, None)
    for block in blocks:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError):
                pickle.dumps(block, protocol)
        for copied in (copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copied(block)
        with pytest.raises(AttributeError):
            block.anything = 1  # type: ignore[attr-defined] # that is the test


def test_a_block_on_a_table_that_is_closed_or_gone_does_not_begin() -> None:
    """It raises as it is entered, and may be entered again; what a table refuses besides is told at the end."""
    table = tm.create("t2", access="public")
    closed, orphaned, reader = tm.attach("t2"), tm.attach("t2"), tm.attach("t2", readonly=True)
    with pytest.raises(tm.AccessError), reader.atomic() as tx:
        tx.insert(("a", 1))
    closed.close()
    block = closed.atomic()
    for _ in range(2):
        with pytest.raises(tm.TableClosedError, match="atomic: this handle of table 't2' is closed"), block:
            pytest.fail("the block ran")
    table.drop()
    for handle in (table, orphaned):
        with pytest.raises(tm.TableNotFoundError, match="atomic: there is no table 't2' any more"), handle.atomic():
            pytest.fail("the block ran")


def test_every_method_of_a_block_says_what_it_does() -> None:
    """To help(), with its arguments."""
    for verb in CALLS:
        method: Any = getattr(tm.Atomic, verb)
        assert method.__doc__
        assert method.__text_signature__.startswith("($self, /, ")


def test_the_table_may_be_used_within_a_block(table: tm.Table) -> None:
    """Reads and writes of it, other blocks, and blocks left without their end: none touches what was recorded."""
    with table.atomic() as tx:
        tx.insert(("c", "x" * 3000))
        table.insert(("d", "y" * 5000))
        table.atomic().__enter__().insert(("e", "z" * 5000))
        with table.atomic() as inner:
            inner.delete("a")
        assert sorted(table) == [("b", 2), ("d", "y" * 5000)]
        gc.collect()
        tx.delete("b")
    assert sorted(table) == [("c", "x" * 3000), ("d", "y" * 5000)]


def test_a_block_may_count_one_key_many_times(table: tm.Table) -> None:
    """Each operation sees those before it, also a thousand on one key."""
    with table.atomic() as tx:
        for _ in range(1000):
            tx.update_counter("n", 1, ("n", 0))
        tx.update_counter("a", 1)
    assert table.lookup("n") == [("n", 1000)]
    assert table.lookup("a") == [("a", 2)]


def test_a_block_over_many_keys_is_one_change(table: tm.Table) -> None:
    """20,000 operations over all parts of the table, in one commit."""
    with table.atomic() as tx:
        for n in range(20_000):
            tx.update_counter(n, 1, (n, 0))
        tx.delete("a")
    assert len(table) == 20_001
    assert all(count == 1 for key, count in table if key != "b")
    assert table.check() == []


def test_an_empty_block_does_nothing(table: tm.Table) -> None:
    """No operation, no change, no error."""
    with table.atomic():
        pass
    assert len(table) == 2


def test_a_recorded_row_is_a_copy(table: tm.Table) -> None:
    """What is changed after recording is not what is written."""
    value = [1]
    with table.atomic() as tx:
        tx.insert(("v", value))
        value.append(2)
    assert table.lookup("v") == [("v", [1])]


@pytest.mark.parametrize("type", ["set", "bag", "duplicate_bag", "ordered_set"])
def test_rows_of_one_key_in_a_long_list_go_in_in_its_order(type: str) -> None:
    """The core writes a list stripe by stripe; of one key the last row wins, or all keep their order."""
    table = tm.create("long", type=type, access="public")
    rows = [(f"key {i * 7 % 500}", i) for i in range(2000)]
    table.insert(rows)
    table.insert([(f"key {i}", -1) for i in range(0, 500, 3)])
    expected: dict[str, list[tuple[str, int]]] = {}
    for key, i in rows:
        expected.setdefault(key, []).append((key, i))
    for i in range(0, 500, 3):
        expected[f"key {i}"].append((f"key {i}", -1))
    keys = ["absent", *expected]
    one_row = type in ("set", "ordered_set")
    assert table.lookup_many(keys) == [[], *(found[-1:] if one_row else found for found in expected.values())]
    assert table.check() == []
