# SPDX-License-Identifier: Apache-2.0
"""Keys and values as they are typed."""

from __future__ import annotations

import pytest

from tablemgr.cli import literals


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("7", 7),
        ("'7'", "7"),
        ("7.0", 7.0),
        ("True", True),
        ("None", None),
        ("b'x'", b"x"),
        ("('a', 1)", ("a", 1)),
        ("[1, {'a': {2}}]", [1, {"a": {2}}]),
        ("-3", -3),
        ("seven", "seven"),
        ("user 1", "user 1"),
        ("a.b", "a.b"),
        ("1 + 1", "1 + 1"),
        ("__import__('os')", "__import__('os')"),
        ("", ""),
        ("('a'", "('a'"),
        ("\\d", "\\d"),
        ("(" * 10_000, "(" * 10_000),
    ],
)
def test_a_python_literal_is_that_and_anything_else_is_a_string(typed: str, meant: object) -> None:
    """Nothing is evaluated but literals; what is none is taken as it was typed."""
    got = literals.parse(typed)
    assert got == meant
    assert type(got) is type(meant)
