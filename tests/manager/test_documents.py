# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/: what they show runs and gives what they say, and they name everything that there is."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import tablemgr as tm
from tablemgr import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

CHECK = """
def _shown(line, value, expected):
    assert repr(value) == repr(expected), f"block line {line}: {value!r}, and not {expected!r}"
"""


def blocks(page: Path, language: str) -> list[str]:
    """The code of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def checked(block: str) -> str:
    """The block, with a check for each expression on a line of its own that a literal follows as a comment."""
    lines = block.splitlines()
    tree = ast.parse(block)
    for place, node in enumerate(tree.body):
        comment = re.search(r"\s#\s*(.*)$", lines[(node.end_lineno or 0) - 1])
        if not isinstance(node, ast.Expr) or comment is None:
            continue
        try:
            expected = ast.literal_eval(comment[1])
        except (ValueError, SyntaxError):
            continue  # a remark
        call = ast.parse(f"_shown({node.lineno}, None, {expected!r})").body[0]
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        call.value.args[1] = node.value
        tree.body[place] = call
    return ast.unparse(ast.fix_missing_locations(tree))


def programs(page: Path) -> list[str]:
    """The blocks of a page one after the other; those that import the package begin a program."""
    found: list[str] = []
    for block in blocks(page, "python"):
        if not found or block.startswith(("import ", "from ")):
            found.append("")
        found[-1] += checked(block) + "\n"
    return found


def run(*argv: str, cwd: Path) -> str:
    """A program to its end; what it printed."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_runs_and_gives_what_it_says(
    instance: str, tmp_path: Path, page: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its Python blocks, a program from each import on; then its commands on the tables that this has left."""
    with tm.Manager():
        said = ""
        for number, text in enumerate(programs(page)):
            program = tmp_path / f"shown{number}.py"
            program.write_text(CHECK + text)
            said += run(sys.executable, str(program), cwd=tmp_path)
        if page.name == "README.md":
            assert "40000 4\n" in said
            tm.SharedDict("counts").table.close()
        for block in blocks(page, ""):
            for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE):
                name, *arguments = shlex.split(command)
                assert name == "tablemgr"
                capfd.readouterr()
                assert cli.main(arguments) == 0
                assert capfd.readouterr().out == output


def test_a_wrong_result_on_a_page_is_found(tmp_path: Path) -> None:
    """The check of the checks."""
    program = tmp_path / "shown.py"
    program.write_text(CHECK + checked("x = 1\nx + 1  # 2\nx  # any int\n"))
    run(sys.executable, str(program), cwd=tmp_path)
    program.write_text(CHECK + checked("[1.0]  # [1]\n"))
    with pytest.raises(AssertionError, match="and not"):
        run(sys.executable, str(program), cwd=tmp_path)


def words(text: str) -> set[str]:
    """The identifiers in it."""
    return set(re.findall(r"\w+", text))


def test_the_readme_names_every_public_name() -> None:
    """All of tm.__all__, and every method and property of Table."""
    api = (ROOT / "README.md").read_text().partition("## API in one page")[2].partition("\n## ")[0]
    members = {
        name
        for kind in tm.Table.__mro__
        for name, value in vars(kind).items()
        if not name.startswith("_") and isinstance(value, (FunctionType, property))
    }
    assert sorted({*tm.__all__, *members} - words(api)) == []


def test_the_pages_name_every_command_and_its_options() -> None:
    """README.md lists the commands, docs/guide.md with their options."""
    readme = (ROOT / "README.md").read_text().partition("## Command line")[2].partition("\n## ")[0]
    guide = (ROOT / "docs" / "guide.md").read_text().partition("## Command line")[2]
    common = {"help", "json", "instance"}
    for command in cli.COMMANDS:
        assert command.name in words(readme)
        if command.name == "bench":
            continue  # benchmarks/README.md has its options
        assert f"`{command.name}" in guide
        parser = argparse.ArgumentParser()
        command.configure(parser)
        for option in parser._option_string_actions:
            if option.startswith("--") and option[2:] not in common:
                assert option in guide, f"{command.name} {option}"
