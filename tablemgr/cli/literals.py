# SPDX-License-Identifier: Apache-2.0
"""Keys, values and times as they are typed on a command line."""

from __future__ import annotations

import argparse
import ast
import warnings


def parse(text: str) -> object:
    """A Python literal (`7`, `'7'`, `("a", 1)`, `None`, `b"x"`, ...), or, where it is none, the text itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value: object = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text
    return value


def seconds(text: str) -> float:
    """A time to wait, for argparse: a number of seconds from 0 up; `inf` is for ever."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 up, not {text!r}")
    return value
