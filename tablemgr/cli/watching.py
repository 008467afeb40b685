# SPDX-License-Identifier: Apache-2.0
"""Looking at an instance again and again, for `top` and `events`. Fetches, and never renders."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from tablemgr import protocol, segments
from tablemgr.cli import frames
from tablemgr.cli.frames import Event, Frame, Look, ManagerState
from tablemgr.cli.history import history
from tablemgr.conversation import ANSWER_SECONDS, Conversations, LostError
from tablemgr.errors import TableError
from tablemgr.segments import process_now

EVENTS_KEPT: Final = 200
PATIENCE: Final = 0.5  # seconds that a look waits for a manager


class Watcher:
    """Looks at one instance, with or without a manager; starts none. For one thread at a time.

    What happened before the first look is not known; the last EVENTS_KEPT events since then are in every frame."""

    def __init__(self, instance: str) -> None:
        self.instance: Final = instance
        self._ask = ManagerLook(instance)
        self._before: Look | None = None
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def frame(self) -> Frame:
        """Look now, and compare with the look before. What cannot be attached is among the lines; OSError: /dev/shm
        itself cannot be read."""
        now = _look(self.instance, self._ask)
        frame = frames.compare(self._before, now)
        self._before = now
        self._events.extend(frame.events)
        return dataclasses.replace(frame, events=tuple(self._events))


def _look(instance: str, ask: ManagerLook) -> Look:
    manager = ask(PATIENCE)
    sightings = tuple(segments.sightings(instance))
    return Look(instance, time.time(), time.monotonic(), manager, sightings)


def past(instance: str) -> list[Event]:
    """What one look shows to have happened; asks no manager. OSError: /dev/shm itself cannot be read."""
    return history(segments.sightings(instance), time.time())


def follow(instance: str, pause: Callable[[], None]) -> Iterator[Event]:
    """`past`, and then what happens, without end and without a gap; each time pause returns, there is another look.

    What begins and ends between two looks is not seen; of several changes of a table's owner, the last."""
    ask = ManagerLook(instance)
    before = _look(instance, ask)
    yield from history(before.sightings, before.when)
    while True:
        pause()
        now = _look(instance, ask)
        yield from frames.compare(before, now).events
        before = now


class ManagerLook:
    """What the manager tells of itself, asked in a thread of its own: a stopped one holds nobody up for long."""

    def __init__(self, instance: str) -> None:
        self._conversations = Conversations(instance, autostart=False)
        self._answer = ManagerState()
        self._asking: threading.Thread | None = None

    def __call__(self, patience: float) -> ManagerState:
        """The manager as it is. patience: seconds; if it has not answered by then, it is said not to answer, with
        those who stood in line when it last did."""
        if self._asking is None:
            self._asking = threading.Thread(target=self._fetch, daemon=True, name="tablemgr-manager-look")
            self._asking.start()
        self._asking.join(patience)
        if self._asking.is_alive():
            return ManagerState(None, False, self._answer.waiting)
        self._asking = None
        return self._answer

    def _fetch(self) -> None:
        self._answer = self._state()

    def _state(self) -> ManagerState:
        try:
            with self._conversations.borrow(may_start=False) as connection:
                if connection is None:
                    return ManagerState()
                report = connection.ask(protocol.Status(), ANSWER_SECONDS)
                process = process_now(connection.welcome.pid, connection.welcome.start)
        except LostError:
            return ManagerState()
        except (TableError, OSError):
            return ManagerState(None, False, self._answer.waiting)
        waiting = report.waiting if isinstance(report, protocol.StatusReport) else ()
        return ManagerState(process, True, tuple((one.name, process_now(one.pid, one.start)) for one in waiting))


def frame_after(instance: str, seconds: float, sleep: Callable[[float], None] = time.sleep) -> Frame:
    """One frame, made of two looks that are so many seconds apart; 0: of one look, without rates and events."""
    watcher = Watcher(instance)
    frame = watcher.frame()
    if seconds:
        sleep(seconds)
        frame = watcher.frame()
    return frame
