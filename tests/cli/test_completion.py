# SPDX-License-Identifier: Apache-2.0
"""completion: scripts for shells, and what they offer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr.cli.completion import SHELLS

from .conftest import Command
from .support import PATIENCE

BASH = """
source <(tablemgr completion bash)
complete_line() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    $(complete -p tablemgr | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
    printf '%s\\n' "${COMPREPLY[@]}"
}
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script(tablemgr: Command, shell: str) -> None:
    """That names the commands and asks us for the tables."""
    ran = tablemgr("completion", shell)
    assert ran.status == 0
    assert "tablemgr completion tables" in ran.out
    for command in ("serve", "drop", "completion"):
        assert command in ran.out
    assert tablemgr("completion", shell, "--json").json["script"] == ran.out


@pytest.mark.parametrize(("shell", "option"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_script_is_one_for_its_shell(tablemgr: Command, tmp_path: Path, shell: str, option: str) -> None:
    """The shell itself finds nothing wrong with it; skipped where that is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(tablemgr("completion", shell).out)
    done = subprocess.run([shell, option, str(script)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def in_bash(tmp_path: Path, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "tablemgr"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tablemgr "$@"\n')
    program.chmod(0o700)
    script = f'PATH="{tmp_path}:$PATH"\n{BASH}\ncomplete_line {line}\n'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_commands_options_and_tables(instance: str, tmp_path: Path) -> None:
    """As whoever presses TAB sees it."""
    with tm.create("sessions"), tm.create("settings"), tm.create("jobs"):
        assert in_bash(tmp_path, "tablemgr comp") == ["completion"]
        assert "--metrics" in in_bash(tmp_path, "tablemgr serve --met")
        assert in_bash(tmp_path, "tablemgr get se") == ["sessions", "settings"]
    for name in ("sessions", "settings", "jobs"):
        tm.drop(name)


def test_a_tables_name_is_never_run(tablemgr: Command, instance: str, tmp_path: Path) -> None:
    """Bash expands what it is offered: names that it would not take as they are are not offered."""
    trap = tmp_path / "trapped"
    names = [f"$(touch${{IFS}}{trap})", "`id`", "a b", "quote'", "-option", "line\nbreak", "*"]
    for name in [*names, "plain-1.2"]:
        tm.create(name).close()
    assert tablemgr("completion", "tables").out == "plain-1.2\n"
    assert tablemgr("completion", "tables", "--json").json == ["plain-1.2"]
    assert in_bash(tmp_path, "tablemgr get ''") == ["plain-1.2"]
    assert not trap.exists()
    for name in [*names, "plain-1.2"]:
        tm.drop(name)


def test_without_the_library_it_says_what_to_install(tablemgr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, exit code 1; so do metrics."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    ran = tablemgr("completion", "bash")
    assert ran.status == 1
    assert "pip install 'tablemgr[completion]'" in ran.err
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    ran = tablemgr("serve", "--metrics", "9100")
    assert ran.status == 1
    assert "pip install 'tablemgr[metrics]'" in ran.err


@pytest.mark.parametrize(
    "options",
    [
        ("--metrics", "0.0.0.0:9100"),
        ("--max-clients", "0"),
        ("--max-message-bytes", "1000000"),
        ("--save", "jobs"),
        ("--save", "=x"),
        ("--save", "a=/x:-1"),
        ("--save", "a=/x", "--save", "b=/x"),
        ("--save-every", "0"),
        ("--save-dir", "/nonexistent"),
        ("--log-level", "loud"),
    ],
)
def test_options_of_serve_that_make_no_sense_are_usage_errors(tablemgr: Command, options: tuple[str, ...]) -> None:
    """Code 2, and nothing was started."""
    ran = tablemgr("serve", *options)
    assert ran.status == 2
    assert ran.err
    assert tablemgr("status").status == 3
