# SPDX-License-Identifier: Apache-2.0
"""Random sequences of operations on Erlang's ETS and on our tables: answers, refusals and contents are the same.

Skipped where Erlang is not installed (Debian, Ubuntu: apt-get install erlang-base).
"""

import random
import time
from collections.abc import Iterator

import pytest

import tablemgr as tm
from tablemgr.segments import TYPES
from tests.erlang.drawing import Draw
from tests.erlang.operations import Answer, Operation, Setting, abilities_of
from tests.erlang.server import Ets, escript
from tests.support.soak import generator, seconds_of_storm

pytestmark = pytest.mark.skipif(
    escript() is None, reason="no Erlang to compare with: escript is not on PATH (Debian, Ubuntu: erlang-base has it)"
)

SEQUENCES = 300  # per type of table
LENGTH = 60  # operations in each


@pytest.fixture(scope="module")
def ets() -> Iterator[Ets]:
    """One Erlang for all tests."""
    with Ets() as running:
        yield running


def ours(setting: Setting, operations: list[Operation]) -> list[Answer]:
    """The answers of a new table."""
    table = tm.create("table", type=setting.type, keypos=setting.keypos, access="public")
    try:
        answers = [operation.perform(table) for operation in operations]
        assert table.check() == []
    finally:
        table.drop()
    return answers


def first_difference(ets: Ets, setting: Setting, operations: list[Operation]) -> str | None:
    """The first operation whose answers do not agree, with both, as text."""
    theirs = ets.run(setting.type, setting.keypos, [operation.theirs(setting) for operation in operations])
    for operation, one, other in zip(operations, theirs, ours(setting, operations), strict=True):
        if not operation.agree(one, other, setting):
            return f"{operation}\n    ETS:  {one}\n    here: {other}"
    return None


def shortest(ets: Ets, setting: Setting, operations: list[Operation]) -> str:
    """A sequence without any operation that the difference does not need, and the difference, as text."""
    at = 0
    while at < len(operations):
        fewer = operations[:at] + operations[at + 1 :]
        if first_difference(ets, setting, fewer):
            operations = fewer
        else:
            at += 1
    lines = [f"{setting}", *map(repr, operations), "differ in", str(first_difference(ets, setting, operations))]
    return "\n".join(lines)


@pytest.mark.parametrize("table_type", TYPES)
def test_random_operations_do_what_they_do_in_ets(ets: Ets, table_type: str) -> None:
    """Whatever is asked in whatever order; a difference is shown with the fewest operations that make it."""
    tm.create("taken")
    abilities = abilities_of(ets.functions, ets.run)
    chance = generator()
    end = time.monotonic() + seconds_of_storm(0, share=0.1)
    number = 0
    while number < SEQUENCES or time.monotonic() < end:
        number += 1
        draw = Draw(random.Random(chance.random()), table_type, abilities)
        operations = draw.sequence(LENGTH)
        if first_difference(ets, draw.setting, operations):
            pytest.fail(shortest(ets, draw.setting, operations))
