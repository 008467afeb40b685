# SPDX-License-Identifier: Apache-2.0
"""What SIGTERM and SIGINT mean while a supervisor runs in the main thread: the children first, in order."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar

_USUAL: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class StopSignals:
    """A supervisor's part in the handlers of this process, which are there while one runs in the main thread.

    A handler runs between any two steps of the main thread. If these are a supervisor's, it must not raise: a process
    that was started a moment ago would be forgotten. It asks the supervisors to stop then, and `deliver` raises
    afterwards. If they are the program's, it raises at once what ends the program: KeyboardInterrupt, SystemExit.
    """

    # Of the process; touched by the main thread only.
    _active: ClassVar[list[StopSignals]] = []
    _handled: ClassVar[list[signal.Signals]] = []  # those that the program has no handlers for
    _sheltered: ClassVar[int] = 0  # how many calls deep the main thread is in the supervisors' steps

    def __init__(self, request_stop: Callable[[], None]) -> None:
        self._request_stop = request_stop
        self._arrived: signal.Signals | None = None
        self._removed = False

    def install(self) -> None:
        """From now on; nothing where only the main thread could."""
        self._arrived, self._removed = None, False
        if _is_main_thread():
            _tidy()
            if not self._active:
                for number, usual in _USUAL.items():
                    if signal.getsignal(number) == usual:
                        self._handled.append(number)
                        signal.signal(number, _handle)
            self._active.append(self)

    def remove(self) -> None:
        """Until now; a handler that the program has set meanwhile stays. Other threads leave it to the main thread."""
        self._removed = True
        if _is_main_thread():
            _tidy()

    @contextlib.contextmanager
    def wake(self, descriptor: int) -> Iterator[None]:
        """Meanwhile a signal itself writes to this: it ends a wait that begins between the signal and its handler."""
        if not _is_main_thread():
            yield
            return
        before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        if before != -1:  # an event loop's, which needs it more
            signal.set_wakeup_fd(before)
        try:
            yield
        finally:
            if before == -1:
                signal.set_wakeup_fd(-1)

    @contextlib.contextmanager
    def shelter(self) -> Iterator[None]:
        """These are the supervisor's steps."""
        if not _is_main_thread():
            yield
            return
        StopSignals._sheltered += 1
        try:
            yield
        finally:
            StopSignals._sheltered -= 1

    @property
    def arrived(self) -> bool:
        """Whether a signal came that has not been delivered."""
        return self._arrived is not None

    def deliver(self, *, but: signal.Signals | None = None) -> None:
        """Raise for the signal that came meanwhile, if one did; `but`: not for this one, which has had its effect."""
        if _is_main_thread() and not self._sheltered:
            number, self._arrived = self._arrived, None
            if number is not None and number != but:
                _raise_for(number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _handle(number: int, frame: FrameType | None) -> None:
    arrived = signal.Signals(number)
    _tidy()
    if not StopSignals._active:
        signal.raise_signal(number)  # the usual handler's by now
        return
    for signals in StopSignals._active:
        if StopSignals._sheltered:
            signals._arrived = signals._arrived or arrived
        signals._request_stop()
    if not StopSignals._sheltered:
        _raise_for(arrived)


def _raise_for(number: signal.Signals) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _tidy() -> None:
    """Forget those that were removed, and with the last of them the handlers."""
    StopSignals._active[:] = [signals for signals in StopSignals._active if not signals._removed]
    if not StopSignals._active:
        for number in StopSignals._handled:
            if signal.getsignal(number) == _handle:
                signal.signal(number, _USUAL[number])
        StopSignals._handled.clear()


# A forked process has no supervisor. The signals wait until it has no handlers of one either: Python drops those that
# come before a new process is ready for them, and a terminated process would live on.

_forking = threading.local()  # .mask: what this thread blocked before it held the signals back


def _before_fork() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _USUAL) if StopSignals._active else None


def _after_fork_in_parent() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child() -> None:
    if _forking.mask is not None:
        StopSignals._active.clear()
        StopSignals._sheltered = 0
        _tidy()
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
