"""The C tests of the core, under pytest: plainly, under ASan with UBSan, and under TSan."""

import pytest

from tests.c.run import RUNS, Run, outcome


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join((*run[:2], *run[2])))
def test_the_core_passes_its_own_tests(run: Run) -> None:
    """A C test program has no failed check, and no sanitizer finds anything."""
    good, said = outcome(run)
    assert good, said
