# SPDX-License-Identifier: Apache-2.0
"""Keys and values as they are typed on a command line."""

from __future__ import annotations

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
