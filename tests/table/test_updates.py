# SPDX-License-Identifier: Apache-2.0
"""update_counter and update_element."""

import pickle
from typing import Any

import pytest

import tablemgr as tm


@pytest.fixture
def table() -> tm.Table:
    """A table with one row: a key, two counters and a text."""
    table = tm.create("t", access="public")
    table.insert(("k", 10, 20, "text"))
    return table


def test_a_counter_is_added_to(table: tm.Table) -> None:
    """An int is added to the element after the key, a pair says where; the sum comes back and is in the table."""
    assert table.update_counter("k", 5) == 15
    assert table.update_counter("k", -20) == -5
    assert table.update_counter("k", (2, 1)) == 21
    assert table.lookup("k") == [("k", -5, 21, "text")]


def test_the_element_after_the_key_depends_on_keypos() -> None:
    """With the key at position 2 the plain form counts on position 3."""
    table = tm.create("third", keypos=2)
    table.insert(("a", "b", "k", 1))
    assert table.update_counter("k", 1) == 2
    assert table.lookup("k") == [("a", "b", "k", 2)]


@pytest.mark.parametrize(
    ("op", "result"),
    [
        ((1, 5, 14, 0), 0),
        ((1, 5, 15, 0), 15),
        ((1, -5, 6, 100), 100),
        ((1, -5, 5, 100), 5),
        ((1, 0, 9, 3), 3),
        ((1, 0, 10, 3), 10),
    ],
)
def test_a_threshold_resets_the_counter(table: tm.Table, op: tuple[int, ...], result: int) -> None:
    """Over the threshold going up, or under it going down, the counter becomes the reset value."""
    assert table.update_counter("k", op) == result
    assert table.lookup_element("k", 1) == result


def test_a_list_of_increments_is_done_in_order_all_or_nothing(table: tm.Table) -> None:
    """Each sees the ones before it; if one fails, none is done."""
    assert table.update_counter("k", [(1, 1), (2, 2), (1, 1)]) == [11, 22, 12]
    with pytest.raises(TypeError):
        table.update_counter("k", [(1, 1), (3, 1)])
    assert table.lookup("k") == [("k", 12, 22, "text")]
    assert table.update_counter("k", []) == []


def test_counters_are_of_any_size(table: tm.Table) -> None:
    """Sums leave 64 bits and come back."""
    assert table.update_counter("k", 2**64) == 2**64 + 10
    assert table.update_counter("k", 2**300) == 2**300 + 2**64 + 10
    assert table.update_counter("k", -(2**300) - 2**64 - 11) == -1
    assert table.update_counter("k", -(2**63)) == -(2**63) - 1
    assert table.update_counter("k", (1, 1, 2**70, 0)) == -(2**63)


def test_an_absent_counter_needs_a_default_row(table: tm.Table) -> None:
    """The default row is put in first, with the key that was asked for."""
    with pytest.raises(KeyError) as caught:
        table.update_counter("x", 1)
    assert caught.value.args == ("x",)
    assert str(caught.value).startswith(f"update_counter: table {table.name!r} has no row with the key 'x'; ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.args, str(again)) == (caught.value.args, str(caught.value))
    assert table.update_counter("x", (1, 3), ("ignored", 4, "more")) == 7
    assert table.lookup("x") == [("x", 7, "more")]
    assert table.update_counter("x", 1, ("x", 100)) == 8


@pytest.mark.parametrize(
    ("op", "error"),
    [
        ((4, 1), IndexError),
        ((-1, 1), IndexError),
        ((0, 1), ValueError),
        ((3, 1), TypeError),
        (True, TypeError),
        (1.0, TypeError),
        ("1", TypeError),
        ((1, True), TypeError),
        ((1, 1.5), TypeError),
        ((1,), TypeError),
        ((1, 2, 3), TypeError),
        ((1, 2, 3, 4, 5), TypeError),
        ((True, 1), TypeError),
        ([1], TypeError),
        ([[1, 1]], TypeError),
        (None, TypeError),
    ],
    ids=repr,
)
def test_a_wrong_increment_changes_nothing(table: tm.Table, op: Any, error: type[Exception]) -> None:
    """Each kind of mistake gets the error of the contract."""
    with pytest.raises(error):
        table.update_counter("k", op)
    assert table.lookup("k") == [("k", 10, 20, "text")]


def test_a_bool_is_no_counter(table: tm.Table) -> None:
    """True is not 1, in the table neither."""
    table.insert(("b", True))
    with pytest.raises(TypeError):
        table.update_counter("b", 1)


@pytest.mark.parametrize("default", [(), ("only", "strings")[:0], ["k", 1], "k", 5], ids=repr)
def test_a_default_row_must_be_a_row_even_if_it_is_not_needed(table: tm.Table, default: Any) -> None:
    """A default without a place for the key is a ValueError, another type a TypeError; checked always."""
    for verb, op in ((table.update_counter, 1), (table.update_element, (1, 1))):
        with pytest.raises((TypeError, ValueError)):
            verb("k", op, default)
    assert table.lookup("k") == [("k", 10, 20, "text")]


def test_a_default_row_too_short_for_the_key_position_is_a_value_error() -> None:
    """Also when the key is there."""
    table = tm.create("third", keypos=2)
    table.insert((1, 2, "k", 4))
    with pytest.raises(ValueError, match="default"):
        table.update_counter("k", 1, (1, 2))


def test_elements_are_replaced(table: tm.Table) -> None:
    """One pair or a list of them, in one step; True says that it was done."""
    assert table.update_element("k", (1, "longer than an int")) is True
    assert table.update_element("k", [(2, None), (3, [1, 2]), (2, "last")]) is True
    assert table.lookup("k") == [("k", "longer than an int", "last", [1, 2])]
    assert table.update_element("k", []) is True


def test_an_absent_row_is_not_updated_without_a_default(table: tm.Table) -> None:
    """False, or the default row with the update done to it."""
    assert table.update_element("x", (1, 1)) is False
    assert "x" not in table
    assert table.update_element("x", (1, "new"), (None, "old", "rest")) is True
    assert table.lookup("x") == [("x", "new", "rest")]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ((4, 1), IndexError),
        ((-1, 1), IndexError),
        ((0, "j"), ValueError),
        ([(1, 1), (9, 1)], IndexError),
        ((1, ...), TypeError),
        ((True, 1), TypeError),
        ((1,), TypeError),
        ((1, 2, 3), TypeError),
        (1, TypeError),
        ([[1, 2]], TypeError),
        (("1", 2), TypeError),
    ],
    ids=repr,
)
def test_a_wrong_update_changes_nothing(table: tm.Table, spec: Any, error: type[Exception]) -> None:
    """Each kind of mistake gets the error of the contract."""
    with pytest.raises(error):
        table.update_element("k", spec)
    assert table.lookup("k") == [("k", 10, 20, "text")]


def test_keys_that_python_will_not_write_hide_no_error(table: tm.Table) -> None:
    """repr() refuses an int of so many digits; what is said is what is wrong with the call all the same."""
    key = 10**5000
    table.insert((key, "text"))
    with pytest.raises(TypeError, match=r"not an int \(key <int>\)"):
        table.update_counter(key, 1)
    with pytest.raises(ValueError, match=r"cannot be changed \(key <int>\)"):
        table.update_element(key, (0, 1))
    with pytest.raises(TypeError, match=r"not <tuple>"):
        table.update_counter(key, (1, 1, key))
    with pytest.raises(TypeError, match=r"not <tuple>"):
        table.update_element(key, (1, 1, key))
    with pytest.raises(TypeError, match=r"row\[1\]\[<int>\]: cannot store a value of type object"):
        table.insert((1, {key: object()}))
