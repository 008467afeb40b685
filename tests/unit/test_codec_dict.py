# SPDX-License-Identifier: Apache-2.0
"""DictVerbs, the part of SharedDict that is in C: arguments, errors, and what it is not: half-made, leaking, closed to
subclasses."""

import gc
import inspect
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _codec

Shared = tm.SharedDict[Any, Any]


@pytest.fixture
def shared() -> Shared:
    """A dict of three items."""
    return tm.SharedDict("d", {"n": 1, "s": "text", "none": None})


def test_arguments_go_by_position_or_name(shared: Shared) -> None:
    """As the signatures say."""
    assert str(inspect.signature(shared.get)) == "(key, /, default=None)"
    assert str(inspect.signature(shared.increment)) == "(key, by=1, default=0)"
    assert shared.get("n", default=5) == shared.get("n", 5) == shared.get("n") == 1
    assert shared.get("m", default=5) == shared.get("m", 5) == 5
    assert shared.get("none", 5) is None
    assert shared.increment("n") == 2
    assert shared.increment("n", 3) == 5
    assert shared.increment("n", by=-5) == 0
    assert shared.increment(key="m", default=10) == 11
    assert shared.increment("l", 2, 2**70) == 2**70 + 2
    assert shared == {"n": 0, "s": "text", "none": None, "m": 11, "l": 2**70 + 2}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.get(), "'key' is missing"),
        (lambda d: d.get(key="n"), "'key'"),
        (lambda d: d.get("n", 1, 2), "2 arguments at most"),
        (lambda d: d.get("n", 1, default=2), "twice"),
        (lambda d: d.increment(), "'key' is missing"),
        (lambda d: d.increment("n", 1, by=1), "twice"),
        (lambda d: d.increment("n", steps=1), "'steps'"),
        (lambda d: d.increment("n", 1.0), "an int, not float"),
        (lambda d: d.increment("n", True), "an int, not bool"),
        (lambda d: d.increment("n", None), "an int, not NoneType"),
        (lambda d: d.increment("s"), "not an int"),
        (lambda d: d.increment("m", 1, "0"), "an int, not str"),
        (lambda d: d.increment("m", 1, object()), "an int, not object"),
        (lambda d: d.increment([]), "key: cannot use"),
        (lambda d: d.__setitem__("n"), "2 arguments"),
        (lambda d: d.__setitem__("n", object()), "value: cannot store"),
        (lambda d: d.__delitem__([]), "key: cannot use"),
        (lambda d: d["n", []], r"key\[1\]: cannot use"),
        (lambda d: [] in d, "key: cannot use"),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(
    shared: Shared, call: Callable[[Shared], object], message: str
) -> None:
    """A TypeError, also where the key is there."""
    with pytest.raises(TypeError, match=message):
        call(shared)
    assert shared == {"n": 1, "s": "text", "none": None}


def test_a_closed_table_comes_before_wrong_arguments(shared: Shared) -> None:
    """TableClosedError, whatever the key and the value are."""
    shared.table.close()
    for call in (
        lambda: shared[[]],
        lambda: shared.get([]),
        lambda: shared.increment("n", "1"),  # type: ignore[arg-type] # that is the test
        lambda: shared.__setitem__("n", object()),
        lambda: shared.__delitem__([]),
        lambda: [] in shared,
        lambda: len(shared),
    ):
        with pytest.raises(tm.TableClosedError):
            call()


def test_a_dict_that_was_not_initialised_says_so(shared: Shared) -> None:
    """Whatever is called; and one that was keeps its table."""
    raw = tm.SharedDict.__new__(tm.SharedDict)
    for call in (
        lambda: raw["n"],
        lambda: raw.get("n"),
        lambda: raw.increment("n"),
        lambda: raw.__setitem__("n", 1),
        lambda: raw.__delitem__("n"),
        lambda: "n" in raw,
        lambda: len(raw),
    ):
        with pytest.raises(RuntimeError, match="SharedDict has no table"):
            call()
    with pytest.raises(TypeError):
        raw._use(object())  # type: ignore[arg-type] # that is the test
    with pytest.raises(RuntimeError, match="already"):
        shared._use(shared.table._binding)
    assert shared["n"] == 1


class Doubling(tm.SharedDict[str, int]):
    """Overrides what is in C."""

    def __getitem__(self, key: str, /) -> int:
        return 2 * super().__getitem__(key)

    def increment(self, key: str, by: int = 1, default: int = 0) -> int:
        """Twice as much."""
        return super().increment(key, 2 * by, default)


def test_a_subclass_may_override_each_verb() -> None:
    """Operators go through the override, and a pickle comes back as the subclass."""
    doubling = Doubling("doubling", {"a": 1})
    assert doubling["a"] == 2
    assert doubling.increment("a", by=2) == 5
    again = pickle.loads(pickle.dumps(doubling))
    assert type(again) is Doubling
    assert again["a"] == 10
    assert again.get("a") == 5


def test_a_dict_in_a_cycle_is_collected() -> None:
    """Together with its binding."""

    class Cyclic(tm.SharedDict[str, int]):
        me: "Cyclic"

    cyclic = Cyclic("cyclic")
    cyclic.me = cyclic
    gone = weakref.ref(cyclic)
    del cyclic
    gc.collect()
    assert gone() is None


def test_the_base_is_generic_and_of_no_use_alone() -> None:
    """`DictVerbs[K, V]` is for type hints; the operators come with a class in Python."""
    assert _codec.DictVerbs[str, int].__origin__ is _codec.DictVerbs  # type: ignore[attr-defined] # not in the stub
    with pytest.raises(RuntimeError):
        _codec.DictVerbs[str, int]().get("k")
