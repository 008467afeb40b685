# SPDX-License-Identifier: Apache-2.0
"""The ladder of the house: a file includes or imports only what stands to its left, and each door has one keeper."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "tablemgr"

# One rung per line, lowest first; files on one rung do not know each other.
PYTHON_LADDER = """
_core _codec
errors
_ffi
codec
rendezvous bell processes replacing
names
ends
matching match_code
match_functions match_compiler
match_program
selecting rows segment_names
segments
mailbox options file_format
ownership walking
table
shared_dict files
protocol namespace
conversation monitoring
listening claiming
client
default_client
keeper manager
supervisor
cli
"""

SYSTEM_HEADERS = re.compile(r"<(sys/.*|fcntl|unistd|signal|poll|sched|linux/.*|spawn|dirent|time)(\.h)?>")
SYSTEM_CALLS = re.compile(
    r"\b(open|openat|close|read|write|mmap|munmap|mremap|mprotect|madvise|ftruncate|fallocate|posix_fallocate|unlink|"
    r"linkat|rename|renameat2|flock|fstat|stat|syscall|getpid|fork|kill|poll|clock_gettime|getrandom|sched_yield|nanosleep)\("
)


def c_ladder() -> dict[str, int]:
    """Height of each C file's stem, as the design tour draws the rooms: bottom first, left first within a room."""
    rooms = re.findall(r"^\| ((?:`\S+` ?)+)\|", (CSRC / "README.md").read_text(), flags=re.MULTILINE)
    stems = [name.removesuffix(".h").removesuffix(".c") for room in rooms for name in re.findall(r"`(\S+)`", room)]
    return {stem: height for height, stem in enumerate(stems)}


def rungs(ladder: str) -> dict[str, int]:
    """Height of each name."""
    return {name: height for height, line in enumerate(ladder.split("\n")) for name in line.split()}


def without_comments(text: str) -> str:
    """C text without comments and without what is in quotes."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', "", text, flags=re.DOTALL)


def c_files() -> list[Path]:
    """The core; the codec for Python is no part of it."""
    return sorted(path for path in CSRC.glob("*.[ch]") if not path.name.startswith("codec"))


def python_files() -> list[Path]:
    """The package; _build describes the extension and is never imported."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_build.py")


@pytest.mark.parametrize("path", c_files(), ids=lambda path: path.name)
def test_a_c_file_includes_only_what_stands_below_it(path: Path) -> None:
    """Its own header, and what stands before it in the README's list of rooms, where every file has its place."""
    heights = c_ladder()
    assert path.stem in heights, f"{path.name} has no room in csrc/README.md"
    for included in re.findall(r'^#include "(\w+)\.h"', path.read_text(), flags=re.MULTILINE):
        assert included == path.stem or heights[included] < heights[path.stem], f"{path.name} includes {included}.h"


@pytest.mark.parametrize("path", sorted(CSRC.glob("codec*.[ch]")), ids=lambda path: path.name)
def test_the_codec_knows_the_core_by_its_public_header_only(path: Path) -> None:
    """Of csrc/ it includes tablemgr.h and its own files."""
    for included in re.findall(r'^#include "(\w+)\.h"', path.read_text(), flags=re.MULTILINE):
        assert included == "tablemgr" or included.startswith("codec")


@pytest.mark.parametrize("path", c_files(), ids=lambda path: path.name)
def test_each_door_has_one_keeper(path: Path) -> None:
    """Only os.c and os_process.c call the system, only lock.c knows pthreads, nothing in the core knows Python."""
    text = path.read_text()
    assert "Python.h" not in text
    if path.name != "lock.c":
        assert "pthread" not in without_comments(re.sub(r"^#include .*", "", text, flags=re.MULTILINE))
        assert "<pthread.h>" not in text
    if path.stem not in {"os", "os_process"}:
        headers = [line for line in text.split("\n") if line.startswith("#include <") and SYSTEM_HEADERS.search(line)]
        assert not headers
        calls = [match.group() for match in SYSTEM_CALLS.finditer(without_comments(text))]
        assert not calls
    if path.name != "atomics.h":
        assert not re.search(r"\b__atomic_|\b__sync_", without_comments(text))


@pytest.mark.parametrize("path", [*c_files(), *sorted(CSRC.glob("codec*"))], ids=lambda path: path.name)
def test_a_c_file_begins_with_its_licence(path: Path) -> None:
    """One SPDX line."""
    assert path.read_text().startswith("/* SPDX-License-Identifier: Apache-2.0 */")


def module_of(path: Path) -> str:
    """The rung that a file of the package is on: its module or subpackage."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The modules and subpackages of tablemgr that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {name.split(".")[1] if "." in name else "" for name in names if name.split(".")[0] == "tablemgr"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            if node.module == "tablemgr":
                found |= {alias.name for alias in node.names}
            elif node.module and node.module.startswith("tablemgr."):
                found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_python_file_imports_only_what_stands_below_it(path: Path) -> None:
    """And within a subpackage its siblings; the package's __init__ imports anything, nobody below cli imports that."""
    heights = rungs(PYTHON_LADDER)
    module = module_of(path)
    if module in ("__init__", "__main__"):
        return
    assert module in heights, f"{path.name} has no rung in the ladder"
    for imported in imports_of(path) - {module}:
        if module == "cli" and imported not in heights:
            continue  # the command line is a user of the package: `import tablemgr` and its public names
        assert imported in heights, f"{path.name} imports {imported} of the package"
        assert heights[imported] < heights[module], f"{path.name} imports {imported}"


def test_one_module_knows_the_compiled_binding() -> None:
    """Only modules of _ffi import _core."""
    assert {module_of(path) for path in python_files() if "_core" in imports_of(path)} == {"_ffi"}


def test_nothing_renders_in_a_layer_that_fetches() -> None:
    """What draws in cli/ imports nothing there that fetches, nor the other way round."""
    drawing = {"render", "render_frames", "lines_view", "rows_view", "tables_view", "top_view"}
    fetching = {"watching", "row_pages", "opening", "paging"}
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        if path.stem in drawing | fetching:
            others = fetching if path.stem in drawing else drawing
            imports = [line for line in path.read_text().split("\n") if re.match(r"\s*(from|import) ", line)]
            assert not [line for line in imports if re.search(rf"\b({'|'.join(sorted(others))})\b", line)], path.name
        if path.stem not in {"top", "top_view", "tables_view", "rows_view", "lines_view"}:
            assert "textual" not in path.read_text(), f"{path.name} needs an optional dependency"
