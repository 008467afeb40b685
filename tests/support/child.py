# SPDX-License-Identifier: Apache-2.0
"""Real child processes that a test talks to, stops and kills. No sleeps: every step is a message over a pipe."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

PATIENCE = 60.0  # seconds after which a silent child is a failed test


class ChildError(Exception):
    """What the child raised, as text."""


class Child:
    """A function in a process of its own: `function(pipe, *args)`; its result, or what it raised, is `result()`.

    As a context manager it kills the child at the end. parental: it may have children itself.
    """

    def __init__(self, function: Callable[..., Any], *args: Any, method: str = "fork", parental: bool = False) -> None:
        context = multiprocessing.get_context(method)
        self.pipe, theirs = context.Pipe()
        self._end, end = context.Pipe()
        # typeshed gives each context its own Process; all are BaseProcess
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_run, args=(function, theirs, end, args), daemon=not parental
        )
        self.process.start()
        theirs.close()
        end.close()

    @property
    def pid(self) -> int:
        """The child's pid."""
        assert self.process.pid is not None
        return self.process.pid

    def receive(self) -> Any:
        """The next thing the child sends."""
        return _receive(self.pipe)

    def send(self, message: Any = None) -> None:
        """Say something to the child, if only that it may go on."""
        self.pipe.send(message)

    def result(self) -> Any:
        """What the function returned; ChildError if it raised."""
        kind, value = _receive(self._end)
        self.process.join(PATIENCE)
        if kind == "raised":
            raise ChildError(value)
        return value

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self.signal(signal.SIGKILL)
        self.process.join(PATIENCE)

    def stop(self) -> None:
        """SIGSTOP, and wait until it is stopped."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Any signal; a dead child is none the worse for it."""
        if self.process.is_alive():
            os.kill(self.pid, number)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.pipe.close()
        self._end.close()


def in_child(function: Callable[..., Any], *args: Any, method: str = "fork", parental: bool = False) -> Any:
    """The result of a function that needs no conversation, called in a process of its own."""
    with Child(_without_pipe, function, args, method=method, parental=parental) as child:
        return child.result()


def _without_pipe(_: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return function(*args)


def _receive(pipe: "Connection[Any, Any]") -> Any:
    if not pipe.poll(PATIENCE):
        raise TimeoutError("the child says nothing")
    try:
        return pipe.recv()
    except EOFError:
        raise ChildError("the child is gone without a word") from None


def _run(function: Callable[..., Any], pipe: Connection, end: Connection, args: tuple[Any, ...]) -> None:
    try:
        end.send(("returned", function(pipe, *args)))
    except BaseException:
        end.send(("raised", traceback.format_exc()))
