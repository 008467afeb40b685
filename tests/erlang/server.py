# SPDX-License-Identifier: Apache-2.0
"""A running Erlang with ETS in it."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.erlang import terms

PROGRAM = Path(__file__).with_name("ets.escript")


def escript() -> str | None:
    """The path of Erlang's script runner, where it is installed."""
    return shutil.which("escript")


class Ets:
    """The process, asked in terms; ends with its `with` block."""

    def __init__(self) -> None:
        runner = escript()
        assert runner
        self._process = subprocess.Popen(
            [runner, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"ERL_CRASH_DUMP_SECONDS": "0"},  # it leaves no file behind, however it ends
        )
        self.release, functions = self.ask(terms.Atom("versions"))
        self.functions: set[tuple[str, int]] = set(functions)

    def run(self, table_type: str, keypos: int, operations: list[Any]) -> list[Any]:
        """The answers to operations on a new table; keypos counts from 0."""
        answers = self.ask((terms.Atom(table_type), keypos + 1, operations))
        assert isinstance(answers, list)
        return answers

    def ask(self, request: Any) -> Any:
        """The answer to a request."""
        into, out = self._process.stdin, self._process.stdout
        assert into
        assert out
        data = terms.encode(request)
        into.write(struct.pack(">I", len(data)) + data)
        into.flush()
        header = out.read(4)
        assert header, "Erlang is gone; its reason is in the output above"
        return terms.decode(out.read(struct.unpack(">I", header)[0]))

    def __enter__(self) -> "Ets":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
