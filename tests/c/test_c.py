"""The C tests of the core, under pytest: plainly, under ASan with UBSan, and under TSan."""

from collections.abc import Callable, Iterator

import pytest

from tests.c.run import RUNS, Run, outcome
from tests.support.ahead import run_ahead


@pytest.fixture(scope="module")
def outcome_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Run], tuple[bool, str]]]:
    """What has become of a run."""
    with run_ahead(request, "run", outcome) as of:
        yield of


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join((*run[:2], *run[2])))
def test_the_core_passes_its_own_tests(outcome_of: Callable[[Run], tuple[bool, str]], run: Run) -> None:
    """A C test program has no failed check, and no sanitizer finds anything."""
    good, said = outcome_of(run)
    assert good, said
