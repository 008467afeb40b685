# SPDX-License-Identifier: Apache-2.0
"""The verbs on whole rows: insert, lookup, take, delete and their kin."""

import datetime
import decimal
import uuid
from typing import Any

import pytest

import tablemgr as tm

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    -(2**200),
    1.5,
    float("inf"),
    "",
    "é\u0000😀",
    b"",
    b"\xff" * 300,
    (),
    (1, ("a", None)),
    [1, [2.0, (3,)]],
    {"a": [1], 2: {"b": ()}, (1, 2): None},
    {1, 2, 3},
    frozenset({"x"}),
    bytearray(b"abc"),
    decimal.Decimal("1.20"),
    uuid.UUID(int=7),
    datetime.date(1, 1, 1),
    datetime.datetime(2024, 2, 29, 23, 59, 59, 999999),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))),
    datetime.time(12, 30, fold=1),
    datetime.timedelta(days=-1, microseconds=1),
]


@pytest.fixture
def table() -> tm.Table:
    """An empty table."""
    return tm.create("t", access="public")


def typed(value: Any) -> Any:
    """A value with its types, all the way down."""
    if isinstance(value, (list, tuple)):
        return type(value), [typed(each) for each in value]
    if isinstance(value, dict):
        return dict, [(typed(key), typed(each)) for key, each in value.items()]
    return type(value), value


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_out_as_it_went_in(table: tm.Table, value: Any) -> None:
    """Every supported value comes back equal and of the same types at every depth."""
    table.insert(("k", value))
    assert typed(table.lookup("k")) == typed([("k", value)])


def test_a_key_is_equal_only_to_its_own_type(table: tm.Table) -> None:
    """1, 1.0 and True are three keys, and so are 0.0 and -0.0."""
    table.insert(
        [(1, "int"), (1.0, "float"), (True, "bool"), (0.0, "plus"), (-0.0, "minus"), ((1,), "t"), ((1.0,), "u")]
    )
    assert len(table) == 7
    assert [table.lookup_element(key, 1) for key in (1, 1.0, True, 0.0, -0.0, (1,), (1.0,))] == [
        "int",
        "float",
        "bool",
        "plus",
        "minus",
        "t",
        "u",
    ]


def test_every_nan_is_one_key(table: tm.Table) -> None:
    """NaN is a key like any other, equal to itself."""
    table.insert((float("nan"), 1))
    table.insert((-float("nan"), 2))
    assert len(table) == 1
    assert float("nan") in table


def test_insert_replaces_the_row_with_the_same_key(table: tm.Table) -> None:
    """A set table has one row per key: the last one inserted, whatever its length."""
    table.insert(("k", 1))
    table.insert(("k", "longer", "row", 4))
    assert table.lookup("k") == [("k", "longer", "row", 4)]
    table.insert(("k",))
    assert table.lookup("k") == [("k",)]
    assert len(table) == 1


def test_insert_returns_none_and_lookup_of_an_absent_key_an_empty_list(table: tm.Table) -> None:
    """Absence is no error for lookup."""
    assert table.insert(("k", 1)) is None  # type: ignore[func-returns-value] # that is the test
    assert table.lookup("x") == []
    assert "x" not in table
    assert "k" in table


def test_the_last_of_two_equal_keys_in_a_list_wins(table: tm.Table) -> None:
    """A list is inserted in its order."""
    table.insert([("k", 1), ("j", 0), ("k", 2)])
    assert sorted(table) == [("j", 0), ("k", 2)]


def test_an_empty_list_inserts_nothing(table: tm.Table) -> None:
    """insert([]) is no error, and insert_new([]) is True as in ETS."""
    table.insert([])
    assert table.insert_new([]) is True
    assert len(table) == 0


def test_insert_new_does_nothing_if_any_key_is_there(table: tm.Table) -> None:
    """insert_new is all or nothing, and the rows of one list do not stand in each other's way."""
    assert table.insert_new(("a", 1)) is True
    assert table.insert_new(("a", 2)) is False
    assert table.insert_new([("b", 1), ("a", 3)]) is False
    assert sorted(table) == [("a", 1)]
    assert table.insert_new([("c", 1), ("d", 1), ("c", 2)]) is True
    assert sorted(table) == [("a", 1), ("c", 2), ("d", 1)]


def test_the_key_may_stand_at_any_position(instance: str) -> None:
    """keypos says which element is the key."""
    table = tm.create("second", keypos=1)
    table.insert([("x", "k"), ("y", "j", 3)])
    assert table.lookup("j") == [("y", "j", 3)]
    table.insert(("z", "k"))
    assert len(table) == 2
    assert table.first() in ("j", "k")
    assert table.info().keypos == 1


def test_lookup_element_gives_one_element(table: tm.Table) -> None:
    """Positions count from 0 and take what has __index__; a default stands in for an absent row, None included."""
    table.insert(("k", "v", 3))
    assert [table.lookup_element("k", position) for position in range(3)] == ["k", "v", 3]
    assert table.lookup_element("x", 1, "default") == "default"
    assert table.lookup_element("x", 1, None) is None
    assert table.lookup_element("x", 2**63, "default") == table.lookup_element("x", 99, "default") == "default"
    with pytest.raises(IndexError):
        table.lookup_element("x", -1, "default")
    with pytest.raises(KeyError, match=f"table {table.name!r} has no row with the key 'x'") as caught:
        table.lookup_element("x", 1)
    assert caught.value.args == ("x",)
    for position in (3, -1, 2**63, -(2**63) - 1):
        with pytest.raises(IndexError, match=f"outside the row in table {table.name!r}"):
            table.lookup_element("k", position)
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(TypeError):
            table.lookup_element("k", wrong)  # type: ignore[arg-type] # that is the test


def test_lookup_many_answers_in_the_order_of_the_keys(table: tm.Table) -> None:
    """One list of rows per key, from any iterable."""
    table.insert([(n, n * n) for n in range(100)])
    assert table.lookup_many(iter([3, "x", 99, 3])) == [[(3, 9)], [], [(99, 9801)], [(3, 9)]]
    assert table.lookup_many([]) == []


def test_take_removes_what_it_returns(table: tm.Table) -> None:
    """take is lookup and delete in one."""
    table.insert(("k", 1))
    assert table.take("k") == [("k", 1)]
    assert table.take("k") == []
    assert len(table) == 0


def test_delete_says_how_many_rows_went(table: tm.Table) -> None:
    """delete, delete_many and delete_all count the rows they removed."""
    table.insert([(n,) for n in range(10)])
    assert table.delete(0) == 1
    assert table.delete(0) == 0
    assert table.delete_many(n for n in (1, 2, 2, 77)) == 2
    assert table.delete_all() == 7
    assert table.delete_all() == 0
    assert list(table) == []


def test_delete_object_compares_the_whole_row_with_its_types(table: tm.Table) -> None:
    """Only the very row goes: 1 is not 1.0."""
    table.insert(("k", 1, [2]))
    assert table.delete_object(("k", 1.0, [2])) == 0
    assert table.delete_object(("k", 1)) == 0
    assert table.delete_object(("k", 1, (2,))) == 0
    assert table.delete_object(("k", 1, [2])) == 1
    assert table.lookup("k") == []


def test_compare_and_swap_replaces_the_very_row_only(table: tm.Table) -> None:
    """It says whether it did; rows with different keys are an error even if nothing is there."""
    table.insert(("k", 1))
    assert table.compare_and_swap(("k", 2), ("k", 3)) is False
    assert table.compare_and_swap(("k", True), ("k", 3)) is False
    assert table.compare_and_swap(("x", 1), ("x", 3)) is False
    assert table.compare_and_swap(("k", 1), ("k", "much longer than before" * 10)) is True
    assert table.lookup("k") == [("k", "much longer than before" * 10)]
    with pytest.raises(ValueError, match="'t'"):
        table.compare_and_swap(("k", 1), ("j", 1))


def test_a_table_is_true_even_if_empty(table: tm.Table) -> None:
    """bool() asks whether there is a table, not whether it has rows."""
    assert table
    assert len(table) == 0


def test_a_table_grows_and_shrinks_by_many_rows(table: tm.Table) -> None:
    """50,000 rows go in, change length, and go out again; what is freed is used again."""
    rows = [(f"user{n:012d}", "x" * (n % 200)) for n in range(50_000)]
    for start in range(0, len(rows), 1000):
        table.insert(rows[start : start + 1000])
    assert len(table) == 50_000
    assert sorted(table) == rows
    reserved = table.info().bytes_reserved
    for _ in range(3):
        assert table.delete_many(key for key, _ in rows) == 50_000
        table.insert(rows)
    assert table.info().bytes_reserved < 3 * reserved
    assert table.check() == []


def test_a_huge_row_is_stored_and_replaced(table: tm.Table) -> None:
    """A row of several MB is a row like any other."""
    table.insert(("k", b"x" * 5_000_000))
    assert table.lookup("k") == [("k", b"x" * 5_000_000)]
    table.insert(("k", b"y" * 7_000_000))
    assert table.lookup_element("k", 1) == b"y" * 7_000_000
    table.insert(("k", None))
    assert table.check() == []


def test_rows_are_copies(table: tm.Table) -> None:
    """Changing what went in or came out changes nothing in the table."""
    value = [1]
    table.insert(("k", value))
    value.append(2)
    table.lookup_element("k", 1).append(3)
    assert table.lookup("k") == [("k", [1])]


def test_pickle_is_for_tables_that_asked_for_it(instance: str) -> None:
    """codec="pickle" takes any picklable value, outside keys."""
    table = tm.create("p", codec="pickle")
    table.insert(("k", complex(1, 2), [range(3)]))
    assert table.lookup("k") == [("k", complex(1, 2), [range(3)])]
    with pytest.raises(TypeError, match="complex"):
        table.insert((complex(1, 2), "v"))


DICTS = ({"a": 1, "b": [2, {"c": 3, "d": 4}]}, {"b": [2, {"d": 4, "c": 3}], "a": 1})
MANY = ({n: {n: 1, -n: 2} for n in range(1, 100)}, {n: {-n: 2, n: 1} for n in range(99, 0, -1)})


@pytest.mark.parametrize("type", ["set", "ordered_set", "bag", "duplicate_bag"])
@pytest.mark.parametrize(("one", "other"), [DICTS, MANY, ((0, DICTS[0]), (0, DICTS[1]))])
def test_the_order_in_a_dict_is_no_part_of_a_row_s_value(type: str, one: Any, other: Any) -> None:
    """A row is this very row whatever the order of a dict in it, and comes out in the order in which it was put in."""
    table = tm.create(f"t {type} {len(one)}", type=type, access="public")
    table.insert(("k", one, other))
    assert table.match(("k", tm.var(1), tm.var(1))) == [(one,)]
    assert table.select_count(tm.Clause(("k", tm.var(1), tm.var(2)), (), tm.is_same(tm.var(1), tm.var(2)))) == 1
    table.insert(("k", other, one))
    assert len(table) == (2 if type == "duplicate_bag" else 1)
    assert repr(table.lookup("k")[0]) == repr(("k", one, other) if type.endswith("bag") else ("k", other, one))
    if not type.endswith("bag"):
        assert table.compare_and_swap(("k", one, one), ("k", one))
        assert not table.compare_and_swap(("k",), ("k", other))
    else:
        assert table.delete_object(("k", one, one)) == len(table.lookup("k")) + (2 if type == "duplicate_bag" else 1)
        table.insert(("k", one))
    with table.atomic() as tx:
        tx.delete_object(("k", other))
    assert (len(table), table.check()) == (0, [])


def test_a_dict_with_other_items_is_another_value() -> None:
    """As many items of the same lengths in another order, and one that differs: by key, by value, or in type."""
    table = tm.create("t", access="public")
    table.insert(("k", {1: 1, 2: 2, 3: (4, 5)}))
    others = [{2: 2, 1: 0, 3: (4, 5)}, {2: 2, 4: 1, 3: (4, 5)}, {2: True, 1: 1, 3: (4, 5)}, {2: 2, 1: 1, 3: (5, 4)}]
    for other in others:
        assert table.delete_object(("k", other)) == 0
    assert table.delete_object(("k", {2: 2, 1: 1, 3: (4, 5)})) == 1
