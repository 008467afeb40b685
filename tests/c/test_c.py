"""The C tests of the core, under pytest: plainly, under ASan with UBSan, and under TSan; and its header in C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.c.run import RUNS, Run, outcome
from tests.c.toolchain import CSRC, ENVIRONMENT, compiler


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join((*run[:2], *run[2])))
def test_the_core_passes_its_own_tests(run: Run) -> None:
    """A C test program has no failed check, and no sanitizer finds anything."""
    good, said = outcome(run)
    assert good, said


IN_CPP = """#include "tablemgr.h"
int main() { return tmgr_status_text(TMGR_OK) == nullptr; }
"""


@pytest.mark.parametrize("cpp", ["g++", "clang++"])
def test_a_cpp_program_includes_the_header_and_links_to_the_core(tmp_path: Path, cpp: str) -> None:
    """The names that a C++ program asks for are those that the core, compiled as C, has."""
    if shutil.which(cpp) is None:
        pytest.skip(f"{cpp} is not installed")
    (tmp_path / "in.cpp").write_text(IN_CPP)
    core = [compiler(), "-std=c11", "-D_GNU_SOURCE", "-c", str(CSRC / "status.c"), "-o", "status.o"]
    program = [cpp, "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", f"-I{CSRC}"]
    for command in (core, [*program, "in.cpp", "status.o", "-o", "in"], ["./in"]):
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_program_in_the_readme_compiles(tmp_path: Path) -> None:
    """What csrc/README.md shows to who uses the core from C is C, with every warning on."""
    page = (CSRC / "README.md").read_text()
    shown = page[page.index("    struct tmgr_options options") : page.index("\n\nPython finds the tables")]
    (tmp_path / "shown.c").write_text(f'#include "tablemgr.h"\n#include <stdio.h>\nint main(void) {{\n{shown}\n}}\n')
    strict = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only", f"-I{CSRC}"]
    command = [compiler(), *strict, "shown.c"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
