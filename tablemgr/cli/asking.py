# SPDX-License-Identifier: Apache-2.0
"""Asking before something is done that cannot be undone."""

from __future__ import annotations

import sys

from tablemgr.cli.exits import RefusedError, UsageError
from tablemgr.cli.words import printable


def confirm(question: str) -> None:
    """Return if whoever sits at the terminal says yes; RefusedError if not, UsageError if nobody can be asked.

    The question goes to standard error, so that what the command writes for programs stays what it is."""
    if not sys.stdin.isatty():
        raise UsageError(f"{printable(question)} There is no terminal to ask at: say --yes")
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("nothing was done")
