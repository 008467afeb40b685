# SPDX-License-Identifier: Apache-2.0
"""The shape of a command: every file of this package that is one exports a `COMMAND`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from tablemgr.cli.answers import Answer


@dataclass(frozen=True, slots=True)
class Command:
    """One verb of the command line.

    `configure` adds the command's arguments to its parser; `run` gets the parsed arguments (with `instance`, None for
    the default, and `json`) and returns what to show. Errors are raised, not printed."""

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Answer]
