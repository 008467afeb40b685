# SPDX-License-Identifier: Apache-2.0
"""Iteration, first, next, last, prev and the lookup forms."""

import pickle
from typing import Any

import pytest

import tablemgr as tm


@pytest.fixture(params=["set", "ordered_set", "bag", "duplicate_bag"])
def table(request: pytest.FixtureRequest) -> tm.Table:
    """A table of 1000 rows, of each type."""
    table = tm.create("t", type=request.param, access="public")
    table.insert([(n, str(n)) for n in range(1000)])
    return table


def walk(table: tm.Table, forward: bool) -> list[Any]:
    """All keys by single steps."""
    keys = []
    key = table.first() if forward else table.last()
    while key is not tm.END:
        keys.append(key)
        key = table.next(key) if forward else table.prev(key)
    return keys


def test_iteration_next_and_prev_go_in_one_order(table: tm.Table) -> None:
    """The table has one order of its own; prev is its reverse."""
    keys = walk(table, forward=True)
    assert sorted(keys) == list(range(1000))
    assert walk(table, forward=False) == keys[::-1]
    assert [row[0] for row in table] == keys


def test_an_empty_table_ends_at_once(table: tm.Table) -> None:
    """Every traversal of nothing is END, which is false and one object."""
    table.delete_all()
    for step in (table.first, table.last, table.first_lookup, table.last_lookup):
        assert step() is tm.END
    assert table.next(1) is tm.END
    assert table.prev_lookup(1) is tm.END
    assert not tm.END
    assert pickle.loads(pickle.dumps(tm.END)) is type(tm.END)() is tm.END
    assert repr(tm.END) == "tablemgr.END"


def test_the_lookup_forms_give_the_rows_too(table: tm.Table) -> None:
    """(key, [rows]) instead of the key."""
    key, rows = table.first_lookup()  # type: ignore[misc] # not END here
    assert (key, rows) == (table.first(), table.lookup(table.first()))
    assert table.next_lookup(key) == (table.next(key), table.lookup(table.next(key)))
    last = table.last()
    assert table.last_lookup() == (last, table.lookup(last))
    assert table.prev_lookup(last) == (table.prev(last), table.lookup(table.prev(last)))


def test_an_absent_key_has_its_place_in_the_order(table: tm.Table) -> None:
    """next and prev work on a key that was deleted, or was never there, and agree with where it was."""
    keys = walk(table, forward=True)
    for index in (0, 1, 500, 998):
        table.delete(keys[index])
        assert table.next(keys[index]) == keys[index + 1]
        assert table.prev(keys[index]) == (keys[index - 1] if index else tm.END)
        table.insert((keys[index], "again"))
    assert walk(table, forward=True) == keys
    following = table.next("never there")
    assert following is tm.END or table.prev(following) == table.prev("never there")


def test_deleting_while_walking_loses_nothing(table: tm.Table) -> None:
    """A walk that deletes each row it comes to sees each once."""
    seen = []
    for key, _ in table:
        table.delete(key)
        seen.append(key)
    assert sorted(seen) == list(range(1000))
    assert len(table) == 0


def test_rows_that_stay_are_seen_exactly_once_while_the_table_grows(table: tm.Table) -> None:
    """Buckets split under the iteration; what was there throughout comes once."""
    seen = []
    for index, (key, _) in enumerate(table):
        if index < 400:
            table.insert([(f"new {index} {n}", None) for n in range(50)])
        if isinstance(key, int):
            seen.append(key)
    assert sorted(seen) == list(range(1000))


def test_a_position_of_the_wrong_type_is_refused(table: tm.Table) -> None:
    """END is no key, and what cannot be a key has no place."""
    for wrong in (tm.END, [1], {}, object()):
        for step in (table.next, table.prev, table.next_lookup, table.prev_lookup):
            with pytest.raises(TypeError):
                step(wrong)


def test_iterating_over_a_dropped_table_raises(table: tm.Table) -> None:
    """The iteration ends with TableNotFoundError, not with an early end."""
    table.insert([(n, "x" * 1000) for n in range(2000)])
    rows = iter(table)
    next(rows)
    table.drop()
    with pytest.raises(tm.TableNotFoundError):
        list(rows)


@pytest.mark.parametrize(
    "verb", ["first", "last", "next", "prev", "first_lookup", "last_lookup", "next_lookup", "prev_lookup"]
)
def test_a_step_that_is_refused_names_what_was_called(verb: str) -> None:
    """Not the step that it is made of."""
    table = tm.create("t", access="public")
    table.close()
    with pytest.raises(tm.TableClosedError, match=rf"^{verb.removesuffix('_lookup')}(_lookup)?: "):
        getattr(table, verb)(*([] if verb.startswith(("first", "last")) else [1]))


@pytest.mark.parametrize("kind", ["set", "bag", "duplicate_bag"])
def test_rows_that_come_back_after_a_delete_all_are_not_seen_again(kind: str) -> None:
    """The table has fewer buckets then, and where the iteration goes on is in the middle of one."""
    table = tm.create("t", type=kind, access="public")
    table.insert([(n, "x" * 50) for n in range(20_000)])
    rows = iter(table)
    for stop in range(1_000, 20_000, 2_111):
        seen = [next(rows) for _ in range(stop)]
        table.delete_all()
        table.insert(seen)
        rest = list(rows)
        assert not {key for key, _ in seen} & {key for key, _ in rest}
        table.insert([(n, "x" * 50) for n in range(20_000)])
        rows = iter(table)
