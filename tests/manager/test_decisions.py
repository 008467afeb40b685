"""What the manager decides, without processes: who is told what, and in which order."""

import pytest

from tablemgr.manager.decisions import Identity, Line, Record, Verdict, Waiter, in_order, judge, next_answer, to_watch

MANAGER = Identity(1, 10)
OWNER = Identity(2, 20)
ASKER = Identity(3, 30)
OTHER = Identity(4, 40)


def record(
    *, name: str = "t", table_id: int = 7, owner: Identity = OWNER, created: int = 1, held: bool = False
) -> Record:
    return Record(name, table_id, owner, created, held)


def waiter(key: int = 1, *, name: str = "t", table_id: int = 7, asker: Identity = ASKER, asked: float = 0.0) -> Waiter:
    return Waiter(key, name, table_id, asker, asked, None)


@pytest.mark.parametrize(
    ("seen", "wanted", "verdict"),
    [
        (None, waiter(table_id=0), Verdict.CREATE),
        (None, waiter(), Verdict.LOOK_AGAIN),
        (record(), waiter(table_id=0), Verdict.LOOK_AGAIN),
        (record(), waiter(table_id=8), Verdict.LOOK_AGAIN),
        (record(), waiter(), Verdict.OWNED),
        (record(owner=ASKER), waiter(), Verdict.YOURS),
        (record(owner=Identity(ASKER.pid, 31)), waiter(), Verdict.OWNED),
        (record(owner=MANAGER, held=True), waiter(), Verdict.GIVE),
        (record(owner=MANAGER), waiter(), Verdict.OWNED),
        (record(owner=MANAGER, held=True), waiter(asker=MANAGER), Verdict.GIVE),
        (record(owner=MANAGER), waiter(asker=MANAGER), Verdict.YOURS),
        (record(owner=MANAGER, held=True), waiter(table_id=8), Verdict.LOOK_AGAIN),
    ],
)
def test_a_claimant_is_told_what_its_case_calls_for(seen: Record | None, wanted: Waiter, verdict: Verdict) -> None:
    """Absent, another table, free, its own, somebody's: each case has one answer; a reused pid is somebody else."""
    assert judge(seen, wanted) is verdict


def test_a_free_table_goes_to_the_first_in_line() -> None:
    """What only one can get is the first one's."""
    first, second = waiter(1), waiter(2, asker=OTHER)
    assert next_answer(record(owner=MANAGER, held=True), [first, second]) == (first, Verdict.GIVE)


def test_leave_to_create_goes_to_the_first_in_line_only() -> None:
    """When a table was dropped, its line is not told all at once."""
    first, second = waiter(1), waiter(2, asker=OTHER, table_id=0)
    assert next_answer(None, [first, second]) == (first, Verdict.LOOK_AGAIN)


def test_who_is_behind_in_the_line_is_told_what_concerns_it_alone() -> None:
    """A waiter that already owns the table, or looked at another one, is not kept waiting by those before it."""
    waiting, stale, owner = waiter(1), waiter(2, table_id=8), waiter(3, asker=OWNER)
    assert next_answer(record(), [waiting, stale, owner]) == (stale, Verdict.LOOK_AGAIN)
    assert next_answer(record(), [waiting, owner]) == (owner, Verdict.YOURS)


def test_nobody_is_told_anything_while_the_owner_lives() -> None:
    """A line behind a live owner waits."""
    assert next_answer(record(), [waiter(1), waiter(2, asker=OTHER)]) is None
    assert next_answer(record(), []) is None
    assert next_answer(None, []) is None


def test_the_line_is_ordered_by_the_time_of_asking() -> None:
    """Also when those who asked first reach a restarted manager last."""
    line = Line()
    late, early, other = waiter(1, asked=5.0), waiter(2, asked=3.0), waiter(3, name="u", asked=1.0)
    for each in (late, early, other):
        line.join(each)
    assert line.of("t") == [early, late]
    assert line.all() == [other, early, late]
    assert line.names() == ["u", "t"]
    assert len(line) == 3


def test_a_place_in_the_line_can_be_left_once() -> None:
    """Leaving twice is leaving; the others move up."""
    line = Line()
    line.join(waiter(1))
    line.join(waiter(2))
    line.leave(1)
    line.leave(1)
    assert 1 not in line
    assert [each.key for each in line.of("t")] == [2]


def test_tables_move_in_the_order_of_their_creation() -> None:
    """The name decides only between tables of the same nanosecond."""
    a, b, c = record(name="a", created=9), record(name="b", created=3), record(name="c", created=3)
    assert in_order([a, c, b]) == [b, c, a]


def test_the_manager_watches_owners_and_clients_but_not_itself() -> None:
    """Also where it owns tables of its own."""
    assert to_watch([OWNER, MANAGER], [ASKER, MANAGER], MANAGER) == {OWNER, ASKER}
