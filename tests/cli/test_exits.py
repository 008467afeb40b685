# SPDX-License-Identifier: Apache-2.0
"""Exit codes: which error gets which, and that no traceback reaches a user."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import pytest

import tablemgr as tm
from tablemgr import cli
from tablemgr.cli.answers import Answer
from tablemgr.cli.command import Command as CliCommand
from tablemgr.cli.exits import ExitStatus, NotFoundError, RefusedError, UsageError, message_of, status_of

from .conftest import Command
from .support import PATIENCE, command


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (NotFoundError("x"), 3),
        (tm.TableNotFoundError("x"), 3),
        (tm.AccessError("x"), 1),
        (tm.ManagerUnavailableError("x"), 1),
        (RefusedError("x"), 1),
        (ValueError("x"), 1),
        (ZeroDivisionError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, status: int) -> None:
    """The one place that maps errors to exit codes."""
    assert status_of(error) == status


def test_messages_are_one_line_and_name_what_is_not_ours() -> None:
    """Our own errors speak for themselves, others with their type."""
    assert message_of(tm.AccessError("table 'x'\n  is private")) == "table 'x' is private"
    assert message_of(ZeroDivisionError("by zero")) == "ZeroDivisionError: by zero"
    assert message_of(MemoryError()) == "MemoryError"


def test_the_commands_are_those_of_the_contract() -> None:
    """COMMANDS is the registry, in the order of the help."""
    names = "serve status stop wait list info events top show select get put delete drop gc check dump load demo bench "
    names += "completion"
    assert [command.name for command in cli.COMMANDS] == names.split()


@pytest.mark.parametrize("argv", [(), ("nonsense",), ("get",), ("list", "--nonsense"), ("show", "t", "--limit", "x")])
def test_wrong_usage_ends_with_2(tablemgr: Command, argv: tuple[str, ...]) -> None:
    """What argparse refuses ends with 2 and its message, not with an exception."""
    ran = tablemgr(*argv)
    assert ran.status == ExitStatus.USAGE
    assert "usage:" in ran.err


@pytest.mark.parametrize("argv", [("drop",), ("drop", "a", "--all"), ("drop", "--all", "--orphans")])
def test_arguments_that_do_not_fit_together_end_with_2(tablemgr: Command, argv: tuple[str, ...]) -> None:
    """What parses and still makes no sense is a usage error too."""
    assert tablemgr(*argv).status == ExitStatus.USAGE
    assert tablemgr("show", "t", "--limit", "-1").status == ExitStatus.USAGE


@pytest.mark.parametrize("instance_name", ["", "a\0b", "\udcff"], ids=ascii)
def test_what_cannot_be_an_instance_ends_with_2(tablemgr: Command, instance_name: str) -> None:
    """Whichever side of the command it stands on; nothing was done."""
    for argv in (("--instance", instance_name, "list"), ("put", "t", "k", "1", "--instance", instance_name)):
        ran = tablemgr(*argv)
        assert ran.status == ExitStatus.USAGE
        assert "--instance: the name" in ran.err
    assert tm.tables() == []


@pytest.mark.parametrize("name", [command.name for command in cli.COMMANDS])
def test_every_command_has_help(tablemgr: Command, name: str) -> None:
    """`tablemgr COMMAND --help` ends with 0."""
    ran = tablemgr(name, "--help")
    assert ran.status == ExitStatus.OK
    assert "--instance" in ran.out


def test_the_version_is_told(tablemgr: Command) -> None:
    """`tablemgr --version` names the package and its version."""
    ran = tablemgr("--version")
    assert (ran.status, ran.out) == (ExitStatus.OK, f"tablemgr {tm.__version__}\n")


def test_options_may_stand_before_and_after_the_command(tablemgr: Command) -> None:
    """--instance and --json are taken in both places."""
    assert tablemgr("--json", "list").json == []
    assert tablemgr("list", "--json").json == []
    assert tablemgr("--instance", "there", "status", "--json").json["instance"] == "there"
    assert tablemgr("status", "--json", "--instance", "there").json["instance"] == "there"


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), ExitStatus.INTERRUPTED), (ZeroDivisionError("x"), ExitStatus.ERROR)]
)
def test_an_exception_in_a_command_becomes_a_line(
    tablemgr: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    """Whatever a command raises, the user sees one line on standard error."""

    def run(args: argparse.Namespace) -> Answer:
        raise error

    broken = CliCommand("broken", "raises", lambda parser: None, run)
    monkeypatch.setattr(cli, "COMMANDS", (broken,))
    ran = tablemgr("broken")
    assert ran.status == status
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("tablemgr: ")


def test_a_reader_that_has_seen_enough_causes_no_traceback(instance: str) -> None:
    """`tablemgr show big | head -1` says nothing on standard error."""
    with tm.create("big", access="public", heir="manager") as table:
        table.insert([(n, "x" * 100) for n in range(20_000)])
        run = subprocess.Popen(
            [sys.executable, "-m", "tablemgr", "show", "big"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == ""
        run.wait(PATIENCE)
        run.stderr.close()


@pytest.mark.parametrize("argv", [("--help",), ("completion", "bash"), ("list", "--json"), ("serve", "--help")])
def test_output_that_nobody_reads_causes_no_traceback(
    instance: str, argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is a pipe whose reader is gone: nothing on standard error, and code 1."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it, argparse notices and says nothing: code 0
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-m", "tablemgr", *argv], stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    os.close(writing)
    assert (run.returncode, run.stderr) == (ExitStatus.ERROR, b"")


WAITING = """
import signal, sys
from tablemgr import cli, default_client

def wait(*args):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
    print("waiting", flush=True)
    signal.pause()

default_client.wait_for_manager = wait
sys.exit(cli.main(["wait"]))
"""


def test_ctrl_c_ends_with_130(instance: str) -> None:
    """SIGINT while a command waits: one line, and 130."""
    run = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "waiting\n"
    os.kill(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == ExitStatus.INTERRUPTED
    assert said == "tablemgr: interrupted\n"


IMPORTING = """
import signal, sys, tablemgr.__main__

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "tablemgr.cli":
            print("importing", flush=True)
            signal.pause()

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Slow())
tablemgr.__main__.main()
"""


def test_ctrl_c_while_it_starts_ends_it_without_a_word(instance: str) -> None:
    """The rest of the package is still being imported: as any program ends."""
    run = subprocess.Popen([sys.executable, "-c", IMPORTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "importing\n"
    os.kill(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=PATIENCE)
    assert (run.returncode, said) == (-signal.SIGINT, "")


def test_the_module_and_the_script_are_the_same_command(instance: str) -> None:
    """`python -m tablemgr` is `tablemgr`."""
    ran = command("list")
    assert ran.returncode == ExitStatus.OK
    assert "no tables in instance" in ran.stdout
