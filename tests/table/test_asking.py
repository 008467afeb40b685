# SPDX-License-Identifier: Apache-2.0
"""Clauses that bind the key, and are lookups; guards that reject rows by their first bytes."""

from __future__ import annotations

import gc
import multiprocessing
import operator
import pickle
import random
from typing import Any

import pytest

import tablemgr as tm

V1, V2, V3 = tm.vars(3)
TYPES = ("set", "ordered_set", "bag", "duplicate_bag")
ODD_VALUES: tuple[Any, ...] = (
    *range(-3, 4),
    *(127, 128, -32, -33, 255, 256, 2**31, -(2**31), 2**63, 2**64, -(2**70)),
    *(0.0, 1.0, 1.5, -2.0, float("inf"), float("nan")),
    *("", "a", "abc", "b" * 31, "b" * 32, "c" * 300, "é"),
    *(None, True, False, b"", b"x" * 40, (1, 2), [1], {"k": 1}, {1, 2}, ("x", (3,))),
)
COMPARISONS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)


def random_guard(chance: random.Random) -> Any:
    """A comparison of a variable with a value, either way round, or two of them."""
    variable = chance.choice((V1, V2, V3))
    value: Any = chance.choice((0, 1, 2, -1, 127, 128, 300, 1.0, "abc", "a", None))
    compare = chance.choice(COMPARISONS)
    guard = compare(variable, value) if chance.random() < 0.7 else compare(value, variable)
    return guard if chance.random() < 0.7 else guard & random_guard(chance)


def shown(results: list[Any]) -> list[str]:
    """In one order, types and NaNs told apart."""
    return sorted(map(repr, results))


def test_a_filter_lets_pass_what_the_program_wants() -> None:
    """With a limit rows are not rejected by their first bytes: that gives the same, whatever is stored."""
    chance = random.Random(5)
    table = tm.create("t", keypos=1)
    for n in range(3000):
        before, *behind = (chance.choice(ODD_VALUES) for _ in range(3))
        table.insert((before, n, *behind[: chance.randrange(3)]))
    table.insert((0, 3000, *range(20)))  # more elements than a filter knows
    for _ in range(150):
        head: list[Any] = [V1, V2, V3, tm.ANY][: chance.choice((2, 3, 4))]
        if chance.random() < 0.4:
            head[chance.choice((0, len(head) - 1))] = chance.choice(ODD_VALUES[:-5])
        guards = [guard for guard in (random_guard(chance),) if uses_only(guard, head)]
        clause = tm.Clause(tuple(head), guards)
        every, more = table.select(clause, limit=10_000)
        assert more is tm.END
        assert shown(table.select(clause)) == shown(every), clause
        count = tm.Clause(tuple(head), guards, True)
        assert table.select_count(count) == len(every)


def test_rows_of_any_size_are_found_in_a_table_of_which_little_passes() -> None:
    """Stripes are surveyed in the order of memory: large rows, long keys and rows of other shapes pass there, too."""
    chance = random.Random(6)
    table = tm.create("t")
    rows: dict[Any, tuple[Any, ...]] = {}
    for n in range(12_000):
        key: Any = chance.choice((n, str(n), "k" * 40 + str(n), (n, "tuple"), "l" * 200 + str(n)))
        behind = () if chance.random() < 0.1 else (b"x" * chance.randrange(300),)
        rows[key] = (key, chance.choice((n % 100, n % 100 + 1000, str(n % 100))), *behind)
    for n in (2_500, 30_000, 300_000, 700_000):
        rows[n * 100] = (n * 100, 7, b"y" * n)
    table.insert(list(rows.values()))
    for key in chance.sample(list(rows), 3000):
        del rows[key]
        table.delete(key)
    for key in chance.sample(list(rows), 3000):
        rows[key] = (key, chance.randrange(100), b"z" * chance.randrange(300))
        table.insert(rows[key])
    for number in (7, 1007, "7"):
        wanted = [row for row in rows.values() if len(row) == 3 and row[1] == number]
        assert wanted
        assert sorted(table.select(tm.Clause((tm.ANY, V1, tm.ANY), [number == V1])), key=repr) == sorted(
            wanted, key=repr
        )
        assert table.select_count(tm.Clause((tm.ANY, V1, tm.ANY), [number == V1], True)) == len(wanted)
    assert table.select(tm.Clause((tm.ANY, V1), [V1 < 0])) == []
    table.delete_all()
    assert table.select(tm.Clause((tm.ANY, V1, tm.ANY), [V1 == 7])) == []


def uses_only(guard: Any, head: list[Any]) -> bool:
    """Whether the head has the variables of a guard."""
    if isinstance(guard, type(V1)):
        return any(one is guard for one in head)
    return all(uses_only(operand, head) for operand in getattr(guard, "operands", ()))


def _disturb(name: str) -> None:
    """Write rows beside those that stay, and over these, so that blocks are used again all the time."""
    table = tm.attach(name)
    chance = random.Random(1)
    for turn in range(12_000):
        key = chance.randrange(1000)
        table.insert((key, key % 10, b"x" * chance.randrange(200)))
        table.insert((10_000 + chance.randrange(3000), 5, b"y" * chance.randrange(200)))
        table.delete(10_000 + chance.randrange(3000))
        if turn % 1000 == 0:
            table.insert([(20_000 + turn * 10 + n, 7, b"") for n in range(500)])  # it grows


def test_a_filtered_select_beside_a_writer_sees_what_stays_once() -> None:
    """Rows that are there throughout come exactly once, though they are overwritten and the table grows."""
    table = tm.create("t", access="public")
    table.insert([(key, key % 10, b"") for key in range(1000)])
    table.insert([(-key, 8, b"") for key in range(1, 9000)])  # enough for a survey of each stripe
    writer = multiprocessing.get_context("spawn").Process(target=_disturb, args=(table.name,))
    writer.start()
    clause = tm.Clause((V1, V2, tm.ANY), [V2 == 3], V1)
    wanted = [key for key in range(1000) if key % 10 == 3]
    while writer.is_alive():
        assert sorted(table.select(clause)) == wanted
        assert table.select_count(tm.Clause((tm.ANY, V2, tm.ANY), [V2 < 1], True)) == 100
    writer.join()
    assert writer.exitcode == 0
    assert sorted(table.select(clause)) == wanted
    assert table.check() == []


@pytest.mark.parametrize("type", TYPES)
def test_a_clause_with_the_key_gives_what_a_walk_gives(type: str) -> None:
    """Whatever its guards and body are, asked once or again, as Clause or Query, with and without a limit."""
    table = tm.create("t", type=type)
    table.insert([((n % 7, "é"), n % 3, n) for n in range(100)] + [(n, "x", None) for n in range(50)])
    for key in ((3, "é"), (8, "é"), 7, 7.0, True, "7", -1):
        for guards in ((), (V1 == 1,), [V1 != 2, tm.is_int(V2)], [(V1 == "x") | (V2 > 50)]):
            for body in (tm.ROW, tm.VARS, (V2, V1, (1, "k")), True, V1, "text", None, 2.5):
                clause = tm.Clause((key, V1, V2), guards, body)
                expected, _ = table.select(clause, limit=1000)
                for question in (clause, clause, tm.Query(clause), pickle.loads(pickle.dumps(clause))):
                    assert shown(table.select(question)) == shown(expected)
    assert table.match((7, V1, V2)) == [("x", None)]
    assert table.match((7, V1, V1)) == []
    assert table.match_object((7, "x", tm.ANY)) == [(7, "x", None)]
    assert table.match_object((7, "y", tm.ANY)) == table.match_object((7, tm.ANY)) == []
    assert table.match_object((7.0, tm.ANY, tm.ANY)) == []


def test_clauses_of_one_shape_are_not_taken_for_each_other() -> None:
    """What differs in more than the key has a program of its own: types, variables, names of functions, nesting."""
    table = tm.create("t", keypos=1)
    table.insert([(value, n) for n, value in enumerate((1, 1.0, True, "1", b"1", None, (1,), ((1,),)))])
    for value in (1, 1.0, True, "1", b"1", None, (1,), ((1,),)):
        found = [n for n in range(8) if table.select(tm.Clause((value, n)))]
        assert [repr(table.lookup(n)[0][0]) for n in found] == [repr(value)]
    assert table.select(tm.Clause((V1, 0), [], (V1, V1))) == [(1, 1)]
    assert table.select(tm.Clause((V2, 0), [], (V2, V2))) == [(1, 1)]
    assert table.select(tm.Clause((V1, 0), [], -V1)) == [-1]
    assert table.select(tm.Clause((V1, 0), [], tm.bnot(V1))) == [-2]
    assert table.select(tm.Clause((V1, 0), [], (V1, (V1,)))) == [(1, (1,))]
    assert table.select(tm.Clause((V1, 0), [], ((V1, V1),))) == [((1, 1),)]
    for n in range(600):  # more than are kept
        assert table.select(tm.Clause((V1, 0), [], (V1, n))) == [(1, n)]


def test_a_clause_serves_tables_of_several_kinds() -> None:
    """What it was compiled to for one table does not mislead another with the key elsewhere, or of equal value."""
    first, second = tm.create("a"), tm.create("b", keypos=1)
    ordered = tm.create("c", type="ordered_set")
    for table in (first, second, ordered):
        table.insert([(1, 2), (2, 1)])
    by_first, by_second = tm.Clause((1, tm.ANY)), tm.Clause((tm.ANY, 1.0))
    for _ in range(3):
        assert [first.select(by_first), second.select(by_first), ordered.select(by_first)] == [[(1, 2)]] * 3
        assert first.select(by_second) == second.select(by_second) == []
        assert ordered.select(tm.Clause((1.0, tm.ANY))) == []


def test_errors_come_as_from_any_clause() -> None:
    """A malformed clause with its key bound; what is wrong with the table before that; a key that can be none."""
    table = tm.create("t")
    table.insert((1, 2))
    for _ in range(2):
        with pytest.raises(tm.BadMatchError, match=r"clause 1: var\(2\) is not in the head \(1, var\(1\)\)"):
            table.select(tm.Clause((1, V1), [V2 > 1]))
        with pytest.raises(tm.BadMatchError, match="guards are a list or tuple"):
            table.select(tm.Clause((1, V1), "guard"))
    assert table.select(tm.Clause(([1], V1))) == table.match(({}, V1)) == []
    with pytest.raises(TypeError):
        table.match(5)
    with pytest.raises(TypeError):
        table.select((1, V1))
    with pytest.raises(TypeError):
        table.select()
    clause = tm.Clause((1, V1))
    assert table.select(clause) == [(1, 2)]
    table.close()
    for question in (clause, tm.Clause((1, V1)), tm.Clause((1, V1), [V2 > 1])):
        with pytest.raises(tm.TableClosedError):
            table.select(question)
    with pytest.raises(tm.TableClosedError):
        table.match((1, V1))


def test_a_clause_does_not_change_and_goes_with_its_garbage() -> None:
    """Its parts cannot be set, keywords will do, a list of guards may be a cycle, and it is compared by identity."""
    clause = tm.Clause(head=(1, V1), body=V1)
    with pytest.raises(AttributeError):
        clause.head = (2, V1)  # type: ignore[misc]
    assert repr(clause) == "Clause(head=(1, var(1)), guards=(), body=var(1))"
    assert clause != tm.Clause((1, V1), (), V1)
    assert len({clause, clause}) == 1
    guards: list[Any] = []
    guards.append(tm.Clause((1,), guards))
    del guards
    gc.collect()
    with pytest.raises(TypeError):
        tm.Clause()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        tm.Clause((1,), (), V1, 4)  # type: ignore[call-arg]
