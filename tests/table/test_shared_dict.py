# SPDX-License-Identifier: Apache-2.0
"""SharedDict: a dict in every respect that a shared one can be."""

import pickle
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import segments
from tests.support.child import Child, in_child


@pytest.fixture
def shared() -> "tm.SharedDict[Any, Any]":
    """A dict of three items."""
    return tm.SharedDict("d", {"a": 1, "b": 2, "c": 3})


def _make() -> None:
    tm.SharedDict("d", {"k": "v"})


def test_it_makes_a_public_table_that_outlives_its_maker() -> None:
    """Heir is the manager, so nobody's death takes it away, and anybody may write to the orphan."""
    in_child(_make)
    [info] = tm.tables()
    assert (info.access, info.heir, info.keypos, info.type, info.orphan) == ("public", "manager", 0, "set", True)
    shared = tm.SharedDict[str, str]("d")
    shared["j"] = "w"
    assert shared == {"k": "v", "j": "w"}


def test_its_arguments_have_names() -> None:
    """As the signature says: name and mapping may be given by keyword."""
    assert tm.SharedDict(name="by-name", mapping={"a": 1}) == {"a": 1}
    assert tm.SharedDict[str, int](mapping=[("b", 2)], name="by-name") == {"a": 1}


def test_it_attaches_to_what_is_there(shared: "tm.SharedDict[Any, Any]") -> None:
    """A mapping fills a new table only."""
    again = tm.SharedDict[str, int]("d", {"a": 99, "z": 0})
    assert again == {"a": 1, "b": 2, "c": 3}
    again["a"] = 5
    assert shared["a"] == 5
    assert again.table.name == "d"


def test_it_takes_what_dict_takes() -> None:
    """Mappings, pairs, anything with keys() and []; a bad pair leaves no table."""

    class Keyed:
        def keys(self) -> list[str]:
            return ["x"]

        def __getitem__(self, key: str) -> str:
            return key * 2

    pairs: list[Any] = [("a", 1), ["b", 2]]
    assert tm.SharedDict("1", pairs) == {"a": 1, "b": 2}
    assert tm.SharedDict("2", Keyed()) == {"x": "xx"}  # type: ignore[arg-type] # dict takes it too
    assert tm.SharedDict("3", tm.SharedDict("1")) == {"a": 1, "b": 2}
    assert tm.SharedDict("4", iter([("a", 1)])) == {"a": 1}
    for wrong, error in ((1, TypeError), ([1], TypeError), ([(1,)], ValueError), ({"k": object()}, TypeError)):
        with pytest.raises(error):
            tm.SharedDict("5", wrong)  # type: ignore[arg-type] # that is the test
    assert [info.name for info in tm.tables()] == ["1", "2", "3", "4"]


def test_items_are_set_got_and_deleted(shared: "tm.SharedDict[Any, Any]") -> None:
    """The basic operations of a dict, and its errors."""
    assert isinstance(shared, MutableMapping)
    assert shared["a"] == 1
    shared["a"] = [1, 2]
    assert shared["a"] == [1, 2]
    shared["a"].append(3)
    assert shared["a"] == [1, 2]
    del shared["a"]
    assert "a" not in shared
    for call in (lambda: shared["a"], lambda: shared.pop("a"), lambda: shared.__delitem__("a")):
        with pytest.raises(KeyError) as caught:
            call()
        assert caught.value.args == ("a",)
    assert shared.get("a") is None
    assert shared.get("a", 7) == 7
    assert shared.get("b", 7) == 2
    assert len(shared) == 2
    assert bool(shared)


def test_an_empty_dict_is_false(shared: "tm.SharedDict[Any, Any]") -> None:
    """As a dict is, unlike a table."""
    shared.clear()
    assert not shared
    assert len(shared) == 0
    assert shared == {}


def test_views_are_live_and_complete(shared: "tm.SharedDict[Any, Any]") -> None:
    """keys, values and items iterate, count, contain and behave as sets where dict's do."""
    keys, values, items = shared.keys(), shared.values(), shared.items()
    assert sorted(keys) == ["a", "b", "c"]
    assert sorted(values) == [1, 2, 3]
    assert sorted(items) == [("a", 1), ("b", 2), ("c", 3)]
    assert ("a", 1) in items
    assert ("a", 2) not in items
    assert "a" in keys
    assert 3 in values
    assert 4 not in values
    assert keys & {"a", "x"} == {"a"}
    assert keys | {"x"} == {"a", "b", "c", "x"}
    shared["d"] = 4
    assert len(keys) == len(values) == len(items) == 4
    assert list(reversed(shared)) == list(shared)[::-1]
    for view in (keys, values, items):
        assert list(reversed(view)) == list(view)[::-1]  # type: ignore[call-overload] # dict's views do that too
    assert keys - {"a"} == {"b", "c", "d"}
    assert keys ^ {"a", "x"} == {"b", "c", "d", "x"}
    assert {"a"} < keys
    assert keys.isdisjoint({"x"})
    assert keys == {"a", "b", "c", "d"}
    assert items & {("a", 1), ("b", 1)} == {("a", 1)}
    assert items == {"a": 1, "b": 2, "c": 3, "d": 4}.items()
    others: list[Any] = [("a", 1, 2), "ab", None, ("a", 2), ("x", 1)]
    assert not any(other in items for other in others)
    shared.clear()
    assert (list(keys), list(values), list(items), list(reversed(shared))) == ([], [], [], [])


def test_pop_and_popitem_remove(shared: "tm.SharedDict[Any, Any]") -> None:
    """With the value, a default, or KeyError."""
    assert shared.pop("a") == 1
    assert shared.pop("a", None) is None
    assert dict([shared.popitem(), shared.popitem()]) == {"b": 2, "c": 3}
    with pytest.raises(KeyError):
        shared.popitem()


def test_setdefault_sets_once(shared: "tm.SharedDict[Any, Any]") -> None:
    """The value that is there, else the default, which is there then."""
    assert shared.setdefault("a", 9) == 1
    assert shared.setdefault("x", 9) == 9
    assert shared.setdefault("y") is None
    assert shared == {"a": 1, "b": 2, "c": 3, "x": 9, "y": None}


def test_update_is_one_change(shared: "tm.SharedDict[Any, Any]") -> None:
    """Mappings, pairs and names; nothing of it if one value cannot be stored."""
    shared.update({"a": 10}, d=4)
    shared.update([("b", 20)])
    shared.update(e=5)
    shared.update()
    assert shared == {"a": 10, "b": 20, "c": 3, "d": 4, "e": 5}
    with pytest.raises(TypeError):
        shared.update({"a": 11, "b": object()})
    assert shared["a"] == 10
    wrongs: list[tuple[Any, type[Exception]]] = [
        ([1], TypeError),
        (5, TypeError),
        (None, TypeError),
        ([("a",)], ValueError),
        (["abc"], ValueError),
    ]
    for wrong, error in wrongs:
        with pytest.raises(error):
            shared.update(wrong)
        with pytest.raises(error):
            {}.update(wrong)
    shared.update(["xy"], a=0)
    assert (shared["x"], shared["a"]) == ("y", 0)


def test_the_operators_are_those_of_dict(shared: "tm.SharedDict[Any, Any]") -> None:
    """| gives a dict, |= changes this one, == compares items."""
    merged = shared | {"a": 0, "z": 26}
    assert type(merged) is dict
    assert merged == {"a": 0, "b": 2, "c": 3, "z": 26}
    assert {"a": 0, "z": 26} | shared == {"a": 1, "b": 2, "c": 3, "z": 26}
    same = shared
    shared |= {"z": 26}
    assert same is shared
    shared |= [("y", 25)]
    assert shared == {"a": 1, "b": 2, "c": 3, "y": 25, "z": 26}
    assert shared != {"a": 1}
    with pytest.raises(TypeError):
        shared | [("x", 1)]  # type: ignore[operator] # that is the test
    with pytest.raises(TypeError):
        [("x", 1)] | shared  # type: ignore[operator] # that is the test


def test_two_of_them_are_equal_when_their_items_are() -> None:
    """Keys type-strictly, where a dict holds only one of 1 and 1.0; in whatever order they were put in."""
    one = tm.SharedDict[Any, str]("one", [(1, "int"), (1.0, "float"), ("a", "b")])
    two = tm.SharedDict[Any, str]("two", [("a", "b"), (1.0, "float"), (1, "int")])
    assert one == two
    assert one.items() == two.items()
    two[1] = "other"
    assert one != two
    two[1] = "int"
    two[2] = "more"
    assert one != two
    assert one != {1: "float", "a": "b", "c": "d"}
    assert tm.SharedDict("three", {1: "int"}) == {1.0: "int"}
    assert one != [(1, "int")]
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_fromkeys_takes_a_name_first() -> None:
    """Each key with the value; options follow; what is there is left as it is."""
    shared = tm.SharedDict.fromkeys("d", "abc", 0, access="protected")
    assert shared == {"a": 0, "b": 0, "c": 0}
    assert shared.table.info().access == "protected"
    assert tm.SharedDict.fromkeys("d", ["x"]) == {"a": 0, "b": 0, "c": 0}
    assert tm.SharedDict.fromkeys("n", iter([1])) == {1: None}
    assert tm.SharedDict.fromkeys("e", []) == {}


def test_popitem_empties_it_in_any_order() -> None:
    """Each item once."""
    shared = tm.SharedDict("d", {n: str(n) for n in range(500)})
    popped = [shared.popitem() for _ in range(500)]
    assert dict(popped) == {n: str(n) for n in range(500)}
    assert not shared


def test_copy_is_a_dict(shared: "tm.SharedDict[Any, Any]") -> None:
    """An ordinary one, which changes nothing here."""
    copied = shared.copy()
    assert type(copied) is dict
    copied["a"] = 0
    assert shared["a"] == 1


def test_increment_counts(shared: "tm.SharedDict[Any, Any]") -> None:
    """By 1 or any int, from a default of 0 or any int; what is no int is refused."""
    assert shared.increment("a") == 2
    assert shared.increment("n") == 1
    assert shared.increment("m", 5, 100) == 105
    assert shared.increment("m", by=-(2**70), default=1) == 105 - 2**70
    shared["s"] = "text"
    calls: list[Callable[[], object]] = [
        lambda: shared.increment("s"),
        lambda: shared.increment("a", True),
        lambda: shared.increment("a", 1.5),  # type: ignore[arg-type] # that is the test
        lambda: shared.increment("new", 1, "zero"),  # type: ignore[arg-type] # that is the test
        lambda: shared.increment("new", 1, False),
        lambda: shared.increment("a", 1, "zero"),  # type: ignore[arg-type] # looked at although there is an "a"
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert shared == {"a": 2, "b": 2, "c": 3, "n": 1, "m": 105 - 2**70, "s": "text"}


def test_keys_of_different_types_are_different() -> None:
    """1, 1.0 and True are three keys here and one in a dict."""
    shared = tm.SharedDict[Any, str]("d")
    shared.update([(1, "int"), (1.0, "float"), (True, "bool")])
    assert len(shared) == 3
    assert (shared[1], shared[1.0], shared[True]) == ("int", "float", "bool")
    assert len(shared.copy()) == 1


def test_an_unsupported_key_is_a_type_error(shared: "tm.SharedDict[Any, Any]") -> None:
    """As an unhashable one is for a dict."""
    for call in (
        lambda: shared[[1]],
        lambda: shared.get([1]),
        lambda: [1] in shared,
        lambda: shared.pop([1], None),
        lambda: shared.setdefault([1], 1),
        lambda: shared.__setitem__([1], 1),
        lambda: shared.__delitem__([1]),
        lambda: shared.increment([1]),
    ):
        with pytest.raises(TypeError):
            call()


def test_it_pickles_as_its_name(shared: "tm.SharedDict[Any, Any]") -> None:
    """The other side attaches to the same table."""
    again = pickle.loads(pickle.dumps(shared))
    again["z"] = 26
    assert shared["z"] == 26
    shared.table.drop()
    with pytest.raises(tm.TableNotFoundError):
        again["z"]


def test_a_table_of_another_shape_is_refused() -> None:
    """The type must be set, keys at position 0, and the codec the one that was asked for."""
    tm.create("second", keypos=1)
    tm.create("pickle", codec="pickle")
    others = [kind for kind in segments.TYPES if kind != "set"]
    for kind in others:
        tm.create(kind, type=kind)
    for name in ("second", "pickle", *others):
        with pytest.raises(tm.TableMismatchError, match=name):
            tm.SharedDict(name)
    shared = tm.SharedDict[str, Any]("pickle", codec="pickle")
    shared["k"] = complex(1)
    assert shared["k"] == complex(1)


def test_a_row_that_is_no_item_is_not_taken_for_one() -> None:
    """Rows of another length, put in through the table, are an error for the dict, not a wrong value."""
    shared = tm.SharedDict[str, int]("d")
    shared.table.insert(("k",))
    with pytest.raises((IndexError, ValueError)):
        shared["k"]


def test_options_are_those_of_create() -> None:
    """access, heir, max_bytes, mode, codec, instance."""
    shared: tm.SharedDict[str, int] = tm.SharedDict(
        "d", access="protected", heir=None, max_bytes=1 << 20, mode=0o644, lock_timeout=1.5
    )
    info = shared.table.info()
    assert (info.access, info.heir, info.max_bytes, info.mode) == ("protected", None, 1 << 20, 0o644)
    assert shared.table.lock_timeout == 1.5
    assert "'d'" in repr(shared)
    shared.table.close()
    assert "closed" in repr(shared)
    with pytest.raises(tm.TableClosedError):
        shared["k"]
    with pytest.raises(tm.TableClosedError, match="closed"):
        shared.update({})


def test_makers_at_the_same_time_share_one_dict() -> None:
    """All of them have it, one made it, and no increment is lost."""

    def make_and_count(pipe: Any) -> None:
        pipe.recv()
        shared = tm.SharedDict[str, int]("d")
        for _ in range(500):
            shared.increment("n")

    children = [Child(make_and_count) for _ in range(4)]
    for child in children:
        child.send()
    for child in children:
        child.result()
        child.kill()
    assert tm.SharedDict[str, int]("d") == {"n": 2000}


def test_its_views_tell_the_mapping(shared: "tm.SharedDict[Any, Any]") -> None:
    """As those of a dict do: to look at, live, and not to be changed by."""
    views: list[Any] = [shared.keys(), shared.values(), shared.items()]
    for view in views:
        assert view.mapping["a"] == 1
        with pytest.raises(TypeError):
            view.mapping["a"] = 2
        shared["z"] = 26
        assert view.mapping["z"] == 26
        del shared["z"]


@pytest.mark.parametrize("row", [("k",), ("k", 1, 2)])
def test_rows_that_are_no_pairs_are_refused_by_name(row: tuple[Any, ...]) -> None:
    """A table that holds other rows is none for a SharedDict; what is refused stays in it."""
    shared: Any = tm.SharedDict("d")
    shared.table.insert(row)
    refusals: list[Callable[[], object]] = [
        lambda: list(shared.values()),
        lambda: list(reversed(shared.values())),
        lambda: shared.pop("k"),
        lambda: shared.popitem(),
    ]
    for refused in refusals:
        with pytest.raises(tm.TableMismatchError, match=rf"table 'd' has a row with {len(row)} element.*'k'"):
            refused()
        assert list(shared.table) == [row]
