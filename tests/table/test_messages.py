# SPDX-License-Identifier: Apache-2.0
"""Messages say which call was refused and of which table: a closed handle, an access, or wrong arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import Child

V1, V2 = tm.vars(2)
TYPES = ("set", "ordered_set", "bag", "duplicate_bag")
NO_VALUE = object()
READ = tm.Clause((V1,))
TRUE = tm.Clause((V1,), (), True)
UNBOUND = tm.Clause((1, V1), [V2 > 1])
NO_KEY_KEPT = tm.Clause((V1, V2), (), (V2, V1))


@pytest.fixture(params=TYPES)
def table(request: pytest.FixtureRequest) -> Iterator[tm.Table]:
    """A table of each type, with three rows, which this process owns."""
    with tm.create("the table", type=request.param, access="public") as made:
        made.insert([(1, 2), (2, 3), (3, 4)])
        yield made


def reading(table: tm.Table) -> dict[str, Callable[[], object]]:
    """Calls that read, by the names that messages have for them; what stands behind a blank tells two of one name."""
    calls: dict[str, Callable[[], object]] = {
        "lookup": lambda: table.lookup(1),
        "lookup_element": lambda: table.lookup_element(1, 0),
        "lookup_many": lambda: table.lookup_many([1]),
        "contains": lambda: 1 in table,
        "len": lambda: len(table),
        "iter": lambda: iter(table),
        "first": table.first,
        "last": table.last,
        "next": lambda: table.next(1),
        "prev": lambda: table.prev(1),
        "first_lookup": table.first_lookup,
        "last_lookup": table.last_lookup,
        "next_lookup": lambda: table.next_lookup(1),
        "prev_lookup": lambda: table.prev_lookup(1),
        "range": lambda: table.range(1, 2),
        "match": lambda: table.match((V1,)),
        "match by key": lambda: table.match((1, V1)),
        "match by limit": lambda: table.match((V1,), 5),
        "match of nothing": lambda: table.match(5),
        "match_object": lambda: table.match_object((V1,)),
        "match_object by key": lambda: table.match_object((1, V1)),
        "select": lambda: table.select(READ),
        "select by key": lambda: table.select(tm.Clause((1, V1))),
        "select of nothing": lambda: table.select(),
        "select with a wrong limit": lambda: table.select(READ, limit=0),
        "select_count": lambda: table.select_count(TRUE),
        "select_count of nothing": lambda: table.select_count(),
    }
    return calls


def writing(table: tm.Table) -> dict[str, Callable[[], object]]:
    """The same of calls that write."""
    calls: dict[str, Callable[[], object]] = {
        "insert": lambda: table.insert((1,)),
        "insert_new": lambda: table.insert_new((1,)),
        "take": lambda: table.take(1),
        "delete": lambda: table.delete(1),
        "delete_many": lambda: table.delete_many([1]),
        "delete_object": lambda: table.delete_object((1,)),
        "delete_all": table.delete_all,
        "update_counter": lambda: table.update_counter(1, 1),
        "update_element": lambda: table.update_element(1, (1, 1)),
        "compare_and_swap": lambda: table.compare_and_swap((1,), (1, 2)),
        "match_delete": lambda: table.match_delete((V1,)),
        "match_delete of nothing": lambda: table.match_delete(5),
        "select_delete": lambda: table.select_delete(TRUE),
        "select_delete of nothing": lambda: table.select_delete(),
        "select_replace": lambda: table.select_replace(READ),
        "select_replace of nothing": lambda: table.select_replace(),
        "rename": lambda: table.rename("another"),
        "rename to nothing": lambda: table.rename(""),
    }
    return calls


def owning(table: tm.Table) -> dict[str, Callable[[], object]]:
    """The same of calls that are the owner's alone."""
    return {
        "give_away": lambda: table.give_away(os.getppid()),
        "setopts": lambda: table.setopts(access="public"),
        "del_table": lambda: tm.del_table(table),
        "abandon_table": lambda: tm.abandon_table(table),
    }


def anybodys(table: tm.Table, path: Path) -> dict[str, Callable[[], object]]:
    """The same of calls that ask for no right, or not at first."""
    return {
        "info": table.info,
        "check": table.check,
        "relink": table.relink,
        "with": table.__enter__,
        "atomic": table.atomic().__enter__,
        "save": lambda: tm.save(table, path),
        "add_table": lambda: tm.add_table(table),
    }


def assert_each_names_itself(
    calls: dict[str, Callable[[], object]], error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """Each call raises this error, which begins with the call's name and has the table's in it."""
    said = {}
    for name, call in calls.items():
        with pytest.raises(error) as caught:
            call()
        said[name] = str(caught.value)
    assert [text for name, text in said.items() if not text.startswith(f"{name.split()[0]}: ")] == []
    assert [text for text in said.values() if "'the table'" not in text] == []


def test_a_closed_handle_says_what_was_asked_of_it(table: tm.Table, tmp_path: Path) -> None:
    """Every method, and every function that takes a table."""
    table.close()
    calls = {**reading(table), **writing(table), **owning(table), **anybodys(table, tmp_path / "file")}
    assert_each_names_itself({**calls, "drop": table.drop}, tm.TableClosedError)
    assert list(tmp_path.iterdir()) == []


def test_a_dropped_table_says_what_was_asked_of_it(table: tm.Table, tmp_path: Path) -> None:
    """Through a handle that is still open."""
    tm.drop(table.name)
    calls = {**reading(table), **writing(table), **owning(table), **anybodys(table, tmp_path / "file")}
    assert_each_names_itself(calls, tm.TableNotFoundError)


@pytest.mark.parametrize("type", TYPES)
def test_a_refused_access_says_what_was_asked(type: str) -> None:
    """In a process that owns neither a private nor a protected table; what is the owner's alone is no exception."""
    with tm.create("the table", type=type, access="private") as table:
        with Child(_ask_of_a_private_table) as child:
            child.result()
        table.setopts(access="protected")
        with Child(_write_to_a_protected_table) as child:
            child.result()
        assert table.check() == []


def _ask_of_a_private_table(pipe: Connection) -> None:
    table = tm.attach("the table")
    calls = reading(table)
    if table.info().type != "ordered_set":
        del calls["range"]
    assert_each_names_itself(calls, tm.AccessError)


def _write_to_a_protected_table(pipe: Connection) -> None:
    table = tm.attach("the table")
    assert_each_names_itself({**writing(table), "drop": table.drop}, tm.AccessError)
    assert_each_names_itself(owning(table), tm.NotOwnerError)


def wrong_questions(table: tm.Table) -> dict[str, Callable[[], object]]:
    """Patterns, clauses, limits and continuations that are refused."""
    going_on = table.select(tm.Clause((V1, V2)), limit=1)[1]
    anything: Any = 5
    calls: dict[str, Callable[[], object]] = {
        "select without a clause": lambda: table.select(),
        "select of no clause": lambda: table.select((1,)),
        "select of an unbound variable": lambda: table.select(UNBOUND),
        "select of wrong guards": lambda: table.select(tm.Clause((V1,), anything)),
        "select of no pattern": lambda: table.select(tm.Clause(anything)),
        "select of no value": lambda: table.select(tm.Clause((V1, NO_VALUE))),
        "select with limit 0": lambda: table.select(READ, limit=0),
        "select with limit x": lambda: table.select(READ, limit="x"),  # type: ignore[arg-type] # that is the test
        "select on with a limit": lambda: table.select(going_on, limit=2),
        "select_count without a clause": lambda: table.select_count(),
        "select_count of an unbound variable": lambda: table.select_count(UNBOUND),
        "select_delete of no clause": lambda: table.select_delete(5),
        "match of no pattern": lambda: table.match(5),
        "match of an expression": lambda: table.match((V1 + 1,)),
        "match with limit True": lambda: table.match((V1,), True),
        "match on from select": lambda: table.match(going_on),
        "match_object of no pattern": lambda: table.match_object("x"),
        "match_delete of no pattern": lambda: table.match_delete(None),
    }
    if table.info().type != "bag":
        calls["select_replace of another key"] = lambda: table.select_replace(NO_KEY_KEPT)
        calls["select_replace without a clause"] = lambda: table.select_replace()
    if table.info().type == "ordered_set":
        calls["range from no key"] = lambda: table.range(NO_VALUE)
        calls["range to no key"] = lambda: table.range(1, [1])
        calls["range with limit -1"] = lambda: table.range(limit=-1)
        calls["range with limit x"] = lambda: table.range(limit="x")  # type: ignore[arg-type] # that is the test
    return calls


def wrong_orders(table: tm.Table) -> dict[str, Callable[[], object]]:
    """What an owner is refused: receivers, heirs, options, data and names."""
    return {
        "give_away to nobody": lambda: table.give_away("nobody"),
        "give_away to no process": lambda: table.give_away(1.5),  # type: ignore[arg-type] # that is the test
        "give_away to a pid that is none": lambda: table.give_away(2**40),
        "give_away to no name": lambda: table.give_away(""),
        "give_away with no value": lambda: table.give_away(os.getppid(), NO_VALUE),
        "setopts of nothing": lambda: table.setopts(),
        "setopts of an heir nobody knows": lambda: table.setopts(heir="nobody"),
        "setopts of no access": lambda: table.setopts(access="open"),
        "setopts of data alone": lambda: table.setopts(heir_data=1),
        "setopts of no value": lambda: table.setopts(heir="manager", heir_data=NO_VALUE),
        "add_table with no value": lambda: tm.add_table(table, heir_data=NO_VALUE),
        "rename to no text": lambda: table.rename(5),  # type: ignore[arg-type] # that is the test
        "rename to nothing": lambda: table.rename(""),
        "rename to what is too long": lambda: table.rename("x" * 300),
    }


def test_wrong_arguments_name_call_and_table(table: tm.Table) -> None:
    """Whatever is wrong with them; nothing has changed."""
    before = table.info()
    assert_each_names_itself({**wrong_questions(table), **wrong_orders(table)}, (TypeError, ValueError, LookupError))
    assert table.info() == before
    assert table.match_object((1, V1)) == [(1, 2)]


def test_a_refused_question_is_still_of_its_kind(table: tm.Table) -> None:
    """The table's name costs neither the class of the error nor its words."""
    with pytest.raises(tm.BadMatchError, match=r"^select: table 'the table': clause 1: var\(2\) is not in the head"):
        table.select(UNBOUND)
    with pytest.raises(tm.BadMatchError, match=r"^match: table 'the table': this is a continuation of select; call"):
        table.match(table.select(tm.Clause((V1, V2)), limit=1)[1])
    with pytest.raises(LookupError, match=r"^give_away: table 'the table': the receiver, 'nobody', is no process") as e:
        table.give_away("nobody")
    assert type(e.value) is LookupError


class Unpicklable:
    """Raises as it is pickled."""

    def __reduce__(self) -> str:
        raise ZeroDivisionError("its own")


def test_what_the_callers_own_code_raised_is_the_cause() -> None:
    """Where a value in a pattern cannot be pickled, its own exception is told beside ours, as by insert."""
    table = tm.create("the table", codec="pickle")
    for call in (lambda: table.match((V1, Unpicklable())), lambda: table.insert((1, Unpicklable()))):
        with pytest.raises(TypeError, match="table 'the table': .*cannot pickle") as caught:
            call()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_taken_name_says_which_table_wanted_it(table: tm.Table) -> None:
    """Both tables are named, and both are there as before."""
    with tm.create("taken"):
        with pytest.raises(
            tm.TableExistsError, match="^rename: a table 'taken' exists already, so 'the table' keeps its"
        ):
            table.rename("taken")
        assert [info.name for info in tm.tables()] == ["taken", "the table"]


def test_a_receiver_that_whereis_did_not_find_is_told_from_other_wrong_ones(table: tm.Table) -> None:
    """It gives None then."""
    nobody: Any = tm.whereis("nobody")
    with pytest.raises(TypeError, match="nobody of the name is registered"):
        table.give_away(nobody)
