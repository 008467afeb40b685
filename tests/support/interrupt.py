# SPDX-License-Identifier: Apache-2.0
"""A signal handler that raises as soon as a function of the core has returned, before anybody has what it made."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from tablemgr._core import lib
from tablemgr._ffi import handle


class _Interrupted:
    """The core's functions, one of which nobody gets an answer of."""

    def __init__(self, function: str) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            status = getattr(lib, name)(*arguments)
            if name == self._function:
                raise KeyboardInterrupt
            return status

        return call


@contextmanager
def interrupted(function: str) -> Iterator[None]:
    """The block calls this function of the core through a handle, and ends with KeyboardInterrupt."""
    with mock.patch.object(handle, "lib", _Interrupted(function)), pytest.raises(KeyboardInterrupt):
        yield
