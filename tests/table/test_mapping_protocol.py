# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of mappings, run on SharedDict; left out is what cannot hold for a dict of copies with a name."""

import itertools
from typing import Any

import pytest

import tablemgr as tm

mapping_tests = pytest.importorskip(
    "test.mapping_tests", reason="this Python came without its own tests (test.mapping_tests)"
)

_numbers = itertools.count()


class _Named(tm.SharedDict[Any, Any]):
    """A SharedDict that is made as a dict is: it finds itself a name that no other has."""

    __slots__ = ()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(f"mapping {next(_numbers)}", dict(*args, **named))


class TestSharedDict(mapping_tests.TestHashMappingProtocol):  # type: ignore[name-defined, misc] # found at run time
    """The tests that a dict passes."""

    type2test = _Named

    # What cannot hold, and why. test_shared_dict.py has what does in its place.
    test_copy = None  # copy() gives a dict: a second table would need a name
    test_fromkeys = None  # takes the name first, for the same reason
    test_repr = None  # tells the name, not the content, which can be of any size; a dict cannot be a value of itself
    test_repr_deep = None  # a SharedDict is no value
    test_popitem = None  # expects two equal dicts to have the same order, and the last item to go first
    test_eq = None  # its keys are objects of a class made up there

    # The rest of these has keys of such classes; what they inherit has not.
    test_getitem = mapping_tests.TestMappingProtocol.test_getitem
    test_pop = mapping_tests.TestMappingProtocol.test_pop
    # And this appends to a value that came out, which is a copy.
    test_setdefault = mapping_tests.BasicTestMappingProtocol.test_setdefault


def test_most_of_the_tests_are_run() -> None:
    """No more are left out than are listed here with their reasons."""
    inherited = {name for name in dir(mapping_tests.TestHashMappingProtocol) if name.startswith("test_")}
    run = {name for name in inherited if getattr(TestSharedDict, name) is not None}
    assert inherited - run == {
        "test_copy",
        "test_fromkeys",
        "test_repr",
        "test_repr_deep",
        "test_popitem",
        "test_eq",
    }
    assert len(run) >= 15
