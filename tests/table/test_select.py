# SPDX-License-Identifier: Apache-2.0
"""match, match_object, match_delete, select, select_count, select_delete, select_replace."""

from __future__ import annotations

import multiprocessing
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm

V1, V2 = tm.vars(2)
TYPES = ("set", "ordered_set", "duplicate_bag")  # with every call


@pytest.fixture(params=[*TYPES, "bag"])
def table(request: pytest.FixtureRequest) -> tm.Table:
    """A thousand rows (number, its square, its parity)."""
    table = tm.create("t", type=request.param, access="public")
    table.insert([(n, n * n, "even" if n % 2 == 0 else "odd") for n in range(1000)])
    return table


def test_match_gives_the_bound_values(table: tm.Table) -> None:
    """A tuple per row, in the order of the variables' numbers; ANY binds nothing; a literal has to be there."""
    found = table.match((V2, V1, "even"))
    assert sorted(found) == [(n * n, n) for n in range(0, 1000, 2)]
    assert table.match((7, V1, tm.ANY)) == [(49,)]
    assert table.match((7, tm.ANY, "even")) == []
    assert table.match((1000, V1, V2)) == []
    assert table.match((7, V1)) == []
    assert sorted(table.match((V1, V1, tm.ANY))) == [(0,), (1,)]


def test_match_object_gives_rows(table: tm.Table) -> None:
    """Whole rows; ANY and a variable match every one."""
    assert table.match_object((9, tm.ANY, V1)) == [(9, 81, "odd")]
    assert sorted(table.match_object(tm.ANY)) == sorted(table)
    assert len(table.match_object(V1)) == 1000


def test_select_applies_guards_and_bodies(table: tm.Table) -> None:
    """The expression language of the clauses; the first clause that applies decides."""
    wanted = [(n, n * n + 1) for n in range(990, 1000) if n % 2]
    clause = tm.Clause((V1, V2, "odd"), [V1 >= 990], (V1, V2 + 1))
    assert sorted(table.select(clause)) == wanted
    assert sorted(table.select(tm.Query(clause))) == wanted
    decided = table.select(
        tm.Clause((V1, tm.ANY, tm.ANY), [V1 < 2], "small"), tm.Clause((V1, tm.ANY, tm.ANY), [V1 < 4], "medium")
    )
    assert sorted(decided) == ["medium", "medium", "small", "small"]
    assert table.select(tm.Clause((5, tm.ANY, tm.ANY), [], tm.ROW)) == [(5, 25, "odd")]
    assert table.select(tm.Clause((5, V1, V2), [], tm.VARS)) == [(25, "odd")]


def test_an_ordered_set_answers_in_the_order_of_its_keys() -> None:
    """select and match by key, backwards with reverse; also where the keys are bound."""
    table = tm.create("o", type="ordered_set", access="public")
    table.insert([(n, str(n)) for n in range(500)])
    clause = tm.Clause((V1, tm.ANY), [V1 % 100 == 0], V1)
    assert table.select(clause) == [0, 100, 200, 300, 400]
    assert table.select(clause, reverse=True) == [400, 300, 200, 100, 0]
    keys = [tm.Clause((key, V1), [], V1) for key in (30, 10, 20.0, 20, 10)]
    assert table.select(*keys) == ["10", "20", "30"]
    assert table.select(*keys, reverse=True) == ["30", "20", "10"]


def test_a_pattern_asks_for_the_very_key() -> None:
    """In an ordered_set too, where 1 and 1.0 are one key: looked up, in a range, walked, with a limit, to delete."""
    table = tm.create("o", type="ordered_set", access="public")
    table.insert([(1.0, "x"), ((2.0, "a"), "y")])
    assert table.lookup(1) == [(1.0, "x")]
    for pattern in ((1, tm.ANY), ((2, "a"), tm.ANY), ((2, V1), tm.ANY)):
        clause = tm.Clause(pattern, (), True)
        assert table.match_object(pattern) == table.match(pattern) == table.select(clause) == []
        assert table.select(clause, tm.Clause((5, tm.ANY))) == []
        assert table.match_object(pattern, limit=5) == ([], tm.END)
        assert table.select_count(clause) == table.select_delete(clause) == table.match_delete(pattern) == 0
        assert table.select_replace(tm.Clause(pattern, (), tm.ROW)) == 0
    assert table.match_object((1.0, tm.ANY)) == [(1.0, "x")]
    assert table.match(((2.0, V1), V2)) == [("a", "y")]
    assert table.match_delete((1.0, tm.ANY)) == 1


def test_a_bound_beginning_of_the_key_is_a_range() -> None:
    """Tuple keys whose leading elements are given: exactly those rows, in order, with a limit and backwards too."""
    table = tm.create("o", type="ordered_set", access="public")
    table.insert([((a, b, c), a + b + c) for a in range(10) for b in range(10) for c in range(10)])
    pattern = ((3, 4, V1), V2)
    assert table.match(pattern) == [(c, 7 + c) for c in range(10)]
    assert table.select(tm.Clause(pattern, [], V1), reverse=True) == list(range(9, -1, -1))
    page, more = table.match(pattern, limit=4)
    assert page == [(c, 7 + c) for c in range(4)]
    assert table.match(more)[0] == [(c, 7 + c) for c in range(4, 8)]


@pytest.mark.parametrize("limit", [1, 7, 100, 499, 500, 501])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_hold_every_result_exactly_once(table: tm.Table, limit: int, reverse: bool) -> None:
    """At most `limit` results each, END with the last ones; continuations are plain values that survive pickling."""
    clause = tm.Clause((V1, tm.ANY, "odd"), [], V1)
    results, more = table.select(clause, limit=limit, reverse=reverse)
    pages = [results]
    while more is not tm.END:
        results, more = table.select(pickle.loads(pickle.dumps(more)))
        pages.append(results)
    assert all(len(page) == limit for page in pages[:-1])
    assert 0 < len(pages[-1]) <= limit
    assert sorted(key for page in pages for key in page) == list(range(1, 1000, 2))


def test_a_limit_may_be_any_number(table: tm.Table) -> None:
    """One beyond every machine word is no limit."""
    for results, more in (table.select(tm.Clause(tm.ANY), limit=10**30), table.match_object(tm.ANY, 2**63)):
        assert (len(results), more) == (1000, tm.END)


def test_pages_survive_growth_and_deletion_between_them(table: tm.Table) -> None:
    """Rows that are there throughout come exactly once, though the table triples and halves between the pages."""
    seen: list[int] = []
    results, more = table.match((V1, tm.ANY, "even"), limit=10)
    turn = 0
    while True:
        seen += [key for (key,) in results if key < 1000 and key % 4 == 0]
        if more is tm.END:
            break
        if turn < 50:
            table.insert([(1000 + turn * 40 + n, 0, "even") for n in range(40)])
            table.delete(turn * 4 + 2)
        turn += 1
        results, more = table.match(more)
    assert sorted(seen) == list(range(0, 1000, 4))


@pytest.mark.parametrize("table", TYPES, indirect=True)
def test_counting_deleting_and_replacing(table: tm.Table) -> None:
    """Exactly True counts; deletes and replacements happen where the clauses say, and are counted."""
    assert table.select_count(tm.Clause((V1, tm.ANY, "even"), [], V1 < 100)) == 50
    assert table.select_count(tm.Clause((V1, tm.ANY, "even"), [], 1)) == 0
    assert table.select_replace(tm.Clause((V1, V2, "even"), [V1 < 10], (V1, V2 + 1, "even"))) == 5
    assert [table.lookup(n)[0][1] for n in range(0, 12, 2)] == [1, 5, 17, 37, 65, 100]
    assert table.select_delete(tm.Clause((V1, tm.ANY, tm.ANY), [V1 >= 500], True)) == 500
    assert table.match_delete((tm.ANY, tm.ANY, "odd")) == 250
    assert sorted(row[0] for row in table) == list(range(0, 500, 2))
    assert table.match_delete(tm.ANY) == 250
    assert len(table) == 0
    assert table.check() == []


def test_an_expression_that_fails_makes_its_clause_not_apply(table: tm.Table) -> None:
    """In a guard and in a body alike."""
    assert table.select(tm.Clause((V1, tm.ANY, V2), [V2 + 1 > 0])) == []
    divided = table.select(tm.Clause((V1, tm.ANY, tm.ANY), [V1 < 3], 10 // V1))
    assert sorted(divided) == [5, 10]


REFUSED: list[tuple[Callable[[tm.Table], Any], type[Exception]]] = [
    (lambda table: table.select(), TypeError),
    (lambda table: table.select((V1, V2)), TypeError),
    (lambda table: table.match([V1]), TypeError),
    (lambda table: table.match("key"), TypeError),
    (lambda table: table.select(tm.Clause((V1,), [V2 > 1])), tm.BadMatchError),
    (lambda table: table.select_replace(tm.Clause((V1, V2, tm.ANY), [], (V2, V1, 1))), tm.BadMatchError),
    (lambda table: table.select(tm.Clause((V1,)), limit=0), ValueError),
    (lambda table: table.select(tm.Clause((V1,)), limit=True), TypeError),
    (lambda table: table.match((object(),)), TypeError),
]


@pytest.mark.parametrize("table", TYPES, indirect=True)
@pytest.mark.parametrize(("act", "error"), REFUSED)
def test_what_is_malformed_is_refused_before_anything_is_touched(
    table: tm.Table, act: Callable[[tm.Table], Any], error: type[Exception]
) -> None:
    """The right class, on an empty table too; a closed table is told first."""
    with pytest.raises(error):
        act(table)
    table.delete_all()
    with pytest.raises(error):
        act(table)
    table.close()
    with pytest.raises(tm.TableClosedError):
        act(table)


def test_a_continuation_is_for_the_call_that_made_it(table: tm.Table) -> None:
    """Another call refuses it, and a second limit."""
    _, more = table.select(tm.Clause(tm.ANY), limit=1)
    with pytest.raises(tm.BadMatchError, match="continuation of select"):
        table.match(more)
    with pytest.raises(TypeError, match="keeps its limit"):
        table.select(more, limit=3)
    assert len(table.select(more)[0]) == 1


def test_a_continuation_ends_with_its_table(table: tm.Table) -> None:
    """Another table that has the name by then does not answer in its stead, pickled or not."""
    _, more = table.match_object(tm.ANY, limit=5)
    table.drop()
    successor = tm.create("t", access="public")
    successor.insert([(n, "new", 0) for n in range(100)])
    for continuation in (more, pickle.loads(pickle.dumps(more))):
        with pytest.raises(tm.TableNotFoundError, match="match_object: the continuation is not of this table 't'"):
            successor.match_object(continuation)


def test_the_end_goes_on_to_nothing(table: tm.Table) -> None:
    """END in, an empty page and END out; a dropped table is told."""
    assert table.select(tm.END) == table.match(tm.END) == ([], tm.END)
    _, more = table.select(tm.Clause(tm.ANY), limit=5)
    table.drop()
    with pytest.raises(tm.TableNotFoundError):
        table.select(more)


def test_private_tables_are_not_matched() -> None:
    """The access of the table comes before the shape of the arguments."""
    name = tm.create("p", access="protected").name
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply(_refusals, (name,)) == ["AccessError", "AccessError", 0]


def _refusals(name: str) -> list[Any]:
    answers: list[Any] = []
    table = tm.attach(name)
    acts: list[Callable[[], int]] = [lambda: table.match_delete(tm.ANY), table.select_replace]
    for act in acts:
        try:
            act()
        except tm.AccessError as error:
            answers.append(type(error).__name__)
    answers.append(table.select_count(tm.Clause(tm.ANY, [], True)))
    return answers


def test_patterns_agree_with_python_on_random_rows(table: tm.Table) -> None:
    """Seeded rows with nested values, patterns made from them, against a matcher of a few lines."""
    rng = random.Random(7)

    def value(depth: int) -> Any:
        kind = rng.randrange(8 if depth else 5)
        return [
            rng.randrange(3), rng.random() < 0.5, None, rng.choice("ab"), float(rng.randrange(2)),
        ][kind] if kind < 5 else [
            tuple(value(depth - 1) for _ in range(rng.randrange(3))),
            [value(depth - 1) for _ in range(rng.randrange(3))],
            {rng.choice("xy"): value(depth - 1)},
        ][kind - 5]  # fmt: skip

    def blur(term: Any) -> Any:
        if rng.random() < 0.3:
            return rng.choice([tm.ANY, V1, V2])
        if isinstance(term, (tuple, list)):
            return type(term)(blur(part) for part in term)
        return {key: blur(part) for key, part in term.items()} if isinstance(term, dict) else term

    def matches(pattern: Any, term: Any, bound: dict[int, Any]) -> bool:
        if pattern is tm.ANY:
            return True
        if isinstance(pattern, type(V1)):
            return same(bound.setdefault(pattern.number, term), term)
        if isinstance(pattern, (tuple, list)):
            return (
                type(pattern) is type(term)
                and len(pattern) == len(term)
                and all(matches(part, of, bound) for part, of in zip(pattern, term, strict=True))
            )
        if isinstance(pattern, dict):
            return type(term) is dict and all(
                key in term and matches(part, term[key], bound) for key, part in pattern.items()
            )
        return same(pattern, term)

    def same(a: Any, b: Any) -> bool:
        return repr(a) == repr(b)

    table.delete_all()
    rows = [(number, value(2), value(2)) for number in range(300)]
    table.insert(rows)
    for row in rng.sample(rows, 150):
        pattern = (rng.choice([tm.ANY, V1, row[0]]), blur(row[1]), blur(row[2]))
        wanted = [other for other in rows if matches(pattern, other, {})]
        assert sorted(map(repr, table.match_object(pattern))) == sorted(map(repr, wanted)), pattern


def _count_up(name: str, times: int) -> None:
    table = tm.attach(name)
    clause = tm.Clause((V1, V2), [], (V1, V2 + 1))
    for _ in range(times):
        assert table.select_replace(clause) == 20


@pytest.mark.parametrize("kind", TYPES)
def test_replacing_beside_other_writers_loses_nothing(kind: str) -> None:
    """Two processes add one to every row by select_replace, again and again: the sums are exact."""
    table = tm.create("c", type=kind, access="public")
    table.insert([(n, 0) for n in range(20)])
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=("c", 300)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert all(row[1] == 600 for row in table)
    assert len(table) == 20
