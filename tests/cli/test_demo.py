# SPDX-License-Identifier: Apache-2.0
"""The demo, on small trees with few kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr.cli import demo
from tablemgr.cli.demo import work

from .conftest import Command
from .support import PATIENCE, command

N_FILES = 40


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of Python files, some of which do not tokenize."""
    root = tmp_path / "tree"
    (root / "package").mkdir(parents=True)
    for number in range(N_FILES):
        (root / "package" / f"m{number:02}.py").write_text(f"def f{number}(self):\n    return self.x + {number}\n" * 50)
    (root / "broken.py").write_text("def f(:\n  '''never ends\n if self")
    (root / "coding.py").write_bytes(b"# -*- coding: klingon -*-\nself = 1\n")
    (root / "latin.py").write_bytes(b"caf\xe9 = self\n")
    (root / "empty.py").write_text("")
    (root / "notes.txt").write_text("self self self")
    return root


def run_demo(*argv: str) -> tuple[int, Any, str]:
    ran = command("--json", "demo", *argv)
    assert "Traceback" not in ran.stderr
    return ran.returncode, json.loads(ran.stdout), ran.stderr


def test_the_demo_counts_exactly_while_it_kills(instance: str, tree: Path) -> None:
    """A few workers and the manager twice: the total is that of one process, and nothing is left."""
    before = sorted(os.listdir("/dev/shm"))
    status, facts, said = run_demo("--path", str(tree), "--kills", "4", "--workers", "2", "--seed", "7")
    assert status == 0, said
    assert facts["ok"]
    assert facts["problems"] == []
    assert facts["files"] == N_FILES + 4
    assert len(facts["kills"]) == 6
    assert [kill["who"] for kill in facts["kills"]].count("manager") == 2
    assert all(kill["seconds"] > 0 and kill["pid"] != kill["successor"] for kill in facts["kills"])
    assert facts["commonest"][0][0] == "self"
    assert [way["way"] for way in facts["comparison"]] == [
        "1 process, a dict",
        "2 processes, Manager().dict()",
        "2 processes, a table",
        "2 processes, a table, 6 kills",
    ]
    assert "check: sound" in said
    assert "3 tables dropped" in said
    assert "/dev/shm is as it was" in said
    assert [name for name in os.listdir("/dev/shm") if name not in before and "demo" in name] == []


def test_more_kills_than_files_are_made_while_work_is_left(instance: str, tmp_path: Path) -> None:
    """Kills are paced by progress, so even three files see all of them."""
    for number in range(3):
        (tmp_path / f"{number}.py").write_text("x = y\n")
    status, facts, said = run_demo("--path", str(tmp_path), "--kills", "5", "--workers", "1")
    assert status == 0, said
    assert len(facts["kills"]) == 7


def test_a_tree_without_python_is_counted_by_words(instance: str, tmp_path: Path) -> None:
    """Text files count, binary files do not."""
    (tmp_path / "a.txt").write_text("if the cat and the dog")
    (tmp_path / "b.md").write_text("the end")
    (tmp_path / "c.bin").write_bytes(b"the\0the")
    status, facts, said = run_demo("--path", str(tmp_path), "--kills", "1", "--workers", "1")
    assert status == 0, said
    assert facts["files"] == 2
    assert ["the", 3] in facts["commonest"]
    assert ["if", 1] in facts["commonest"]


def test_files_that_do_not_tokenize_are_counted_by_their_words(tree: Path) -> None:
    """One rule for all: identifiers, no keywords, whatever the file is like."""
    assert work.count_file(tree / "broken.py") == Counter(["f", "never", "ends", "self"])
    assert work.count_file(tree / "coding.py")["self"] == 1
    assert work.count_file(tree / "latin.py")["self"] == 1
    assert work.count_file(tree / "empty.py") == Counter()
    assert work.count_file(tree / "notes.txt") == Counter({"self": 3})
    assert work.count_file(tree / "package" / "m00.py") == Counter({"f0": 50, "self": 100, "x": 50})


def test_python_files_come_before_text_and_installed_packages_do_not_count(tree: Path) -> None:
    """A tree with Python files is that of its Python files."""
    (tree / "site-packages").mkdir()
    (tree / "site-packages" / "other.py").write_text("x")
    found = work.find_files(tree)
    assert len(found) == N_FILES + 4
    assert all(path.suffix == ".py" for path in found)


def test_a_wrong_total_ends_with_1(tablemgr: Command, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that count otherwise than the reference are found out, identifier by identifier."""
    count_into = work.count_into

    def twice(shared: tm.Table, path: Path, position: int, me: str) -> None:
        count_into(shared, path, position, me)
        if position == 0:
            shared.update_counter("self", 1, ("self", 0))

    monkeypatch.setattr(work, "count_into", twice)
    ran = tablemgr("--json", "demo", "--path", str(tree), "--kills", "0", "--workers", "1")
    assert ran.status == 1
    assert not ran.json["ok"]
    assert any("'self' was counted" in problem for problem in ran.json["problems"])


def test_leftovers_are_found(instance: str) -> None:
    """A table of the demo's instance that is still there is named; other people's objects are not ours to judge."""
    before = demo.shm_names()
    with tm.create("left", instance="demo-0") as table, tm.create("other"):
        assert demo.leftovers("demo-0", before) == ["/dev/shm/tablemgr.demo-0.left is left over"]
        table.drop()
    assert demo.leftovers("demo-0", before) == []


def test_a_worker_that_fails_ends_the_demo_with_1(
    tablemgr: Command, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a worker is not restarted away."""

    def fail(shared: tm.Table, path: Path, position: int, me: str) -> None:
        os._exit(9)

    monkeypatch.setattr(work, "count_into", fail)
    ran = tablemgr("--json", "demo", "--path", str(tree), "--kills", "0", "--workers", "1")
    assert ran.status == 1
    assert any("ended with exit code 9" in problem for problem in ran.json["problems"])


HANGING = """
import signal, sys
from tablemgr import cli
from tablemgr.cli.demo import work
work.count_into = lambda *args: signal.pause()
sys.exit(cli.main(["demo", "--path", sys.argv[1], "--kills", "0", "--workers", "2", "--patience", "1"]))
"""


def start(code: str, argv: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_hang_is_ended_by_the_watchdog(instance: str, tree: Path) -> None:
    """Nothing moves: exit code 1, the children are gone, and no table is left."""
    ran = start(HANGING, [str(tree)])
    out, err = ran.communicate(timeout=PATIENCE)
    assert ran.returncode == 1, out
    assert "the demo hangs" in err
    assert "Traceback" not in err
    assert not [name for name in os.listdir("/dev/shm") if f"demo-{ran.pid}" in name]


def test_an_interrupted_demo_cleans_up(instance: str, tree: Path) -> None:
    """Ctrl-C: exit code 130, and no table is left."""
    ran = start(HANGING.replace('"1"', '"50"'), [str(tree)])
    assert ran.stdout is not None
    while "Under fire" not in ran.stdout.readline():
        assert ran.poll() is None
    while not [name for name in os.listdir("/dev/shm") if f"demo-{ran.pid}" in name]:
        assert ran.poll() is None
    os.kill(ran.pid, signal.SIGINT)
    _, err = ran.communicate(timeout=PATIENCE)
    assert ran.returncode == 130, err
    assert not [name for name in os.listdir("/dev/shm") if f"demo-{ran.pid}" in name]


@pytest.mark.parametrize(
    "argv", [("--workers", "0"), ("--kills", "-1"), ("--path", "/nonexistent"), ("--path", os.devnull)]
)
def test_senseless_arguments_are_usage_errors(tablemgr: Command, argv: tuple[str, ...]) -> None:
    """Nothing is started."""
    assert tablemgr("demo", *argv).status == 2


def test_a_tree_without_files_is_a_usage_error(tablemgr: Command, tmp_path: Path) -> None:
    """There is nothing to count."""
    assert tablemgr("demo", "--path", str(tmp_path)).status == 2
