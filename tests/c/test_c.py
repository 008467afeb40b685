"""The C tests of the core, under pytest: plainly, under ASan with UBSan, and under TSan."""

import pytest

from tests.c.run import RUNS, outcome


@pytest.mark.parametrize(("mode", "name", "arguments"), RUNS, ids=lambda value: str(value))
def test_the_core_passes_its_own_tests(mode: str, name: str, arguments: tuple[str, ...]) -> None:
    """A C test program has no failed check, and no sanitizer finds anything."""
    good, said = outcome(mode, name, arguments)
    assert good, said
