# SPDX-License-Identifier: Apache-2.0
"""Atomic blocks: recorded, run at the end, all or nothing."""

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


def test_a_block_is_of_no_use_outside(table: tm.Table) -> None:
    """Before its begin and after its end it raises RuntimeError."""
    block = table.atomic()
    with pytest.raises(RuntimeError):
        block.insert(("c", 3))
    with block as tx:
        tx.insert(("c", 3))
    with pytest.raises(RuntimeError):
        tx.delete("c")
    with pytest.raises(RuntimeError), block:
        pass
    assert "c" in table


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
