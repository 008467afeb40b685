# SPDX-License-Identifier: Apache-2.0
"""Arguments that read `--`: argparse loses them, also where they are a key, a value or a name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Final

_DASHES: Final = "--"
_STAND_IN: Final = "\0--"  # no argument can be that: none has a NUL in it


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """What `parser` makes of `argv`. The first `--` ends the options; behind it, or as in `--from=--`, it is a text."""
    end = argv.index(_DASHES) if _DASHES in argv else len(argv)
    options = [f"{arg[:-2]}{_STAND_IN}" if re.fullmatch("--[a-z-]+=--", arg) else arg for arg in argv[:end]]
    texts = [_STAND_IN if arg == _DASHES else arg for arg in argv[end + 1 :]]
    args = parser.parse_args([*options, *argv[end : end + 1], *texts])
    for name, value in vars(args).items():
        setattr(args, name, [_text(each) for each in value] if isinstance(value, list) else _text(value))
    return args


def _text(value: object) -> object:
    return _DASHES if value == _STAND_IN else value
