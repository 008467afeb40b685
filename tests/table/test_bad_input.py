# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: the error of the contract, a message that says what to do, and the table as it was."""

import collections
import datetime
import enum
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm


class Color(enum.IntEnum):
    """A subclass of int."""

    RED = 1


class Text(str):
    """A subclass of str."""

    __slots__ = ()


Point = collections.namedtuple("Point", "x y")


class Zone(datetime.tzinfo):
    """A time zone that is no datetime.timezone."""

    def utcoffset(self, _: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(0)

    def dst(self, _: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(0)

    def tzname(self, _: datetime.datetime | None) -> str:
        return "zone"


NO_VALUES: list[Any] = [
    object(),
    complex(1),
    range(3),
    Color.RED,
    Text("x"),
    Point(1, 2),
    collections.OrderedDict(),
    collections.defaultdict(int),
    datetime.datetime(2024, 1, 1, tzinfo=Zone()),
    memoryview(b""),
    iter([]),
    len,
    int,
    tm.END,
]
NO_KEYS: list[Any] = [*NO_VALUES, [1], {}, set(), frozenset(), bytearray(b"x"), (1, [2])]


@pytest.fixture
def table() -> tm.Table:
    """A table with one row."""
    table = tm.create("t", access="public")
    table.insert(("k", 1))
    return table


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: type(value).__name__)
def test_an_unsupported_value_is_named_with_its_position(table: tm.Table, value: Any) -> None:
    """TypeError with the type, the position in the row and codec="pickle", at any depth."""
    name = type(value).__name__
    for row, position in ((("a", value), "1"), (("a", 0, [{"x": (value,)}]), "2")):
        for call in (
            lambda row=row: table.insert(row),
            lambda row=row: table.insert([("b", 0), row]),
            lambda row=row: table.insert_new(row),
            lambda row=row: table.compare_and_swap(("a",), row),
            lambda row=row: table.update_counter("a", 1, row),
        ):
            with pytest.raises(TypeError) as caught:
                call()
            assert f"table {table.name!r}: " in str(caught.value)
            assert name in str(caught.value)
            assert position in str(caught.value)
            assert "pickle" in str(caught.value) or name == "datetime"
    assert list(table) == [("k", 1)]


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: type(key).__name__)
def test_an_unsupported_key_is_refused_by_every_verb(table: tm.Table, key: Any) -> None:
    """TypeError, also for asking whether it is there."""
    for call in (
        lambda: table.insert((key, 1)),
        lambda: table.lookup(key),
        lambda: key in table,
        lambda: table.lookup_element(key, 0),
        lambda: table.lookup_element(key, 0, None),
        lambda: table.lookup_many(["k", key]),
        lambda: table.delete(key),
        lambda: table.delete_many(["k", key]),
        lambda: table.take(key),
        lambda: table.update_counter(key, 1),
        lambda: table.update_element(key, (1, 1)),
        lambda: table.next(key),
    ):
        with pytest.raises(TypeError, match=f"table {table.name!r}: "):
            call()
    assert list(table) == [("k", 1)]


def test_deep_nesting_and_lone_surrogates_are_value_errors(table: tm.Table) -> None:
    """100 levels are stored, 101 are refused; text must be text."""
    deep: Any = 0
    for _ in range(98):
        deep = [deep]
    table.insert(("deep", deep))
    assert table.lookup_element("deep", 1) == deep
    for _ in range(5):
        deep = [deep]
    for wrong in (deep, "\ud800", ["\udfff"]):
        with pytest.raises(ValueError):  # noqa: PT011 - the message is the codec's
            table.insert(("k", wrong))
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the codec's
        table.insert(("k", cycle))
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the codec's
        table.lookup("\ud800")
    assert table.lookup("k") == [("k", 1)]


@pytest.mark.parametrize(
    "rows",
    [None, 1, "row", b"row", {"k": 1}, {("k", 1)}, Point(1, 2), [["k", 1]], [("a", 1), "b"], [("a",), None]],
    ids=repr,
)
def test_what_is_no_row_is_refused(table: tm.Table, rows: Any) -> None:
    """Rows are exactly tuples and lists of rows exactly lists; nothing of a list goes in."""
    for verb in (table.insert, table.insert_new):
        with pytest.raises(TypeError):
            verb(rows)
    with pytest.raises(TypeError), table.atomic() as tx:
        tx.insert(rows)
    assert list(table) == [("k", 1)]


def test_a_row_without_its_key_is_a_value_error() -> None:
    """An empty tuple, or one shorter than keypos."""
    table = tm.create("third", keypos=2)
    for row in ((), (1,), (1, 2)):
        with pytest.raises(ValueError):  # noqa: PT011 - the message is the codec's
            table.insert(row)
        with pytest.raises(ValueError):  # noqa: PT011 - the message is the codec's
            table.insert([(1, 2, 3), row])
        with pytest.raises(ValueError):  # noqa: PT011 - the message is the codec's
            table.delete_object(row)
    assert len(table) == 0


def test_a_huge_key_is_a_value_error(table: tm.Table) -> None:
    """A key has at most 64 KiB of text; what is longer is in no table, and asking is an error too."""
    longest = "x" * 65536
    table.insert((longest, 1))
    assert table.lookup(longest) == [(longest, 1)]
    for call in (
        lambda: table.insert((longest + "x", 1)),
        lambda: table.insert([("a", 1), (longest + "x", 1)]),
        lambda: table.lookup(longest + "x"),
        lambda: table.delete(b"x" * 70_000),
    ):
        with pytest.raises(ValueError, match="64 KiB|65541"):
            call()
    assert len(table) == 2


@pytest.mark.parametrize(
    "name",
    ["a", "/", "..", "a/b", "../../etc/passwd", ".", " ", "\n", "a.b", "%2F", "ü😀", "~", "x" * 200, "\x7f\x01"],
    ids=ascii,
)
def test_odd_names_are_stored_exactly(name: str, instance: str) -> None:
    """Any text is a name, and what info and the list say is that very text."""
    table = tm.create(name)
    assert table.name == name
    assert [info.name for info in tm.tables()] == [name]
    assert tm.attach(name).info().name == name
    tm.drop(name)
    assert tm.tables() == []
    with pytest.raises(tm.TableNotFoundError):
        tm.attach(name)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "ü" * 100, "\ud800"], ids=ascii)
def test_what_cannot_be_a_name_is_refused_clearly(name: str) -> None:
    """ValueError from everything that takes a name."""
    table = tm.create("t")
    calls: list[Callable[[], object]] = [
        lambda: tm.create(name),
        lambda: tm.attach(name),
        lambda: tm.drop(name),
        lambda: tm.SharedDict(name),
        lambda: table.rename(name),
        lambda: tm.create("x", instance=name) if name else tm.create(""),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="name"):
            call()
    assert [info.name for info in tm.tables()] == ["t"]


@pytest.mark.parametrize("name", [None, 1, b"t", ("t",)], ids=repr)
def test_a_name_that_is_no_text_is_a_type_error(name: Any) -> None:
    """From everything that takes a name."""
    for call in (tm.create, tm.attach, tm.drop, tm.SharedDict):
        with pytest.raises(TypeError, match="name"):
            call(name)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"type": "heap"}, ValueError),
        ({"type": None}, TypeError),
        ({"access": "open"}, ValueError),
        ({"access": 1}, TypeError),
        ({"keypos": -1}, ValueError),
        ({"keypos": 1.0}, TypeError),
        ({"keypos": True}, TypeError),
        ({"keypos": 2**40}, ValueError),
        ({"max_bytes": 0}, ValueError),
        ({"max_bytes": 1}, ValueError),
        ({"max_bytes": -5}, ValueError),
        ({"max_bytes": "1M"}, TypeError),
        ({"max_bytes": 2**63}, ValueError),
        ({"mode": 0o1777}, ValueError),
        ({"mode": 0o400}, ValueError),
        ({"mode": "rw"}, TypeError),
        ({"heir": "nobody"}, LookupError),
        ({"heir": False}, TypeError),
        ({"heir": 2**22 + 1}, LookupError),
        ({"heir_data": 1}, ValueError),
        ({"heir": "manager", "heir_data": "x" * 1000}, ValueError),
        ({"heir": "manager", "heir_data": ...}, TypeError),
        ({"codec": "json"}, ValueError),
        ({"codec": 1}, TypeError),
        ({"lock_timeout": -1}, ValueError),
        ({"lock_timeout": float("nan")}, ValueError),
        ({"lock_timeout": "1"}, TypeError),
        ({"instance": 1}, TypeError),
        ({"nonsense": 1}, TypeError),
    ],
    ids=repr,
)
def test_wrong_options_make_no_table(options: dict[str, Any], error: type[Exception]) -> None:
    """create refuses them and leaves nothing."""
    with pytest.raises(error):
        tm.create("t", **options)
    assert tm.tables() == []


@pytest.mark.parametrize(
    "options", [{"readonly": 1}, {"codec": "json"}, {"codec": None}, {"lock_timeout": None}], ids=repr
)
def test_attach_refuses_wrong_options(options: dict[str, Any]) -> None:
    """TypeError or ValueError."""
    tm.create("t")
    with pytest.raises((TypeError, ValueError)):
        tm.attach("t", **options)


def test_what_is_not_iterable_is_no_list_of_keys(table: tm.Table) -> None:
    """lookup_many and delete_many take iterables, and an exception of the iterable's own passes through."""

    def keys() -> Any:
        yield "k"
        raise ZeroDivisionError

    for verb in (table.lookup_many, table.delete_many):
        with pytest.raises(TypeError):
            verb(1)  # type: ignore[arg-type] # that is the test
        with pytest.raises(ZeroDivisionError):
            verb(keys())
    assert list(table) == [("k", 1)]
