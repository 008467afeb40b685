# SPDX-License-Identifier: Apache-2.0
"""Programs that the tests of a module wait for, one each: they run side by side, one on each processor."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest

Parameter = TypeVar("Parameter")
Result = TypeVar("Result")


@contextmanager
def run_ahead(
    request: pytest.FixtureRequest, name: str, run: Callable[[Parameter], Result]
) -> Iterator[Callable[[Parameter], Result]]:
    """Start run(p) for each parameter p of this name that the module's tests in this session have, in their order.

    Within the context a call with p waits for its result, or raises what run(p) did.
    """
    parametrized = [
        item.callspec for item in request.session.items if item.path == request.path and hasattr(item, "callspec")
    ]
    parameters: list[Parameter] = [callspec.params[name] for callspec in parametrized if name in callspec.params]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = {parameter: pool.submit(run, parameter) for parameter in parameters}
        try:
            yield lambda parameter: results[parameter].result()
        finally:
            pool.shutdown(cancel_futures=True)
