# SPDX-License-Identifier: Apache-2.0
"""The manager's log: one line per event, for people who grep (key=value) or for programs (JSON).

It is the standard library's logging: this module only says what a line looks like, where it goes, and that a log that
cannot be written (a full disk, a terminal that is held, a pipe that nobody reads) does not hold the manager up.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import logging.handlers
import os
import queue
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from tablemgr.manager.journal import Told

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_QUEUED_MAX = 10_000  # lines that wait for a slow log; beyond them they are lost, and counted
_END_SECONDS = 2.0
_MODE = 0o640
_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")


class LineFormatter(logging.Formatter):
    """A record as one line that begins with time (UTC), level and event; the fields follow.

    as_json: one JSON object; else key=value, where values with spaces, quotes or control characters are JSON strings.
    A record of another library has the event "message" and its text in the field `message`.
    """

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told = getattr(record, "told", None)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        if isinstance(told, Told):
            line |= {"event": told.event.value, **told.fields}
        else:
            line |= {"event": "message", "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps(line, ensure_ascii=False, default=str)
        return " ".join(f"{name}={_value(value)}" for name, value in line.items())


def _value(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class _Queue(logging.handlers.QueueHandler):
    """Hands records to the thread that writes them; what does not fit is lost, never waited for."""

    def __init__(self, records: queue.Queue[Any]) -> None:
        super().__init__(records)
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: the thread is of this process, and formats fields and tracebacks itself."""
        return record

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """The queue is full."""
        self.lost += 1


class Log:
    """Where the lines go: a file, or standard error.

    path: the file, which is made with mode 0640 where it is not there; None: standard error. level: of the lines that
    are written, and of those above. Raises OSError (the file), ValueError (the level).
    """

    def __init__(self, path: str | None = None, *, as_json: bool = False, level: str = "info") -> None:
        if level not in LEVELS:
            raise ValueError(f"the level of a log is one of {', '.join(LEVELS)}, not {level!r}")
        self.path = None if path is None else os.path.abspath(path)
        self._level = getattr(logging, level.upper())
        self._records: queue.Queue[logging.LogRecord | int | None] = queue.Queue(_QUEUED_MAX)
        self._queue = _Queue(self._records)
        self._formatter = LineFormatter(as_json)
        self._descriptor = os.dup(2) if self.path is None else _open(self.path)

    @property
    def lost(self) -> int:
        """Lines that were not written, because the log was slower than what happened."""
        return self._queue.lost

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Log]:
        """In the block, the records of this package go to the log, and nowhere else.

        Its end waits until the lines are written, but not for ever: who ends must not hang on a log that is stuck.
        """
        logger = logging.getLogger("tablemgr")
        level, propagate = logger.level, logger.propagate
        logger.setLevel(self._level)
        logger.propagate = False
        logger.addHandler(self._queue)
        writer = threading.Thread(target=self._write, name="tablemgr log", daemon=True)
        writer.start()
        try:
            yield self
        finally:
            logger.removeHandler(self._queue)
            logger.setLevel(level)
            logger.propagate = propagate
            with contextlib.suppress(queue.Full):
                self._records.put(None, timeout=_END_SECONDS)
            writer.join(_END_SECONDS)

    def reopen(self) -> None:
        """Go on in a file newly opened under the same path: whoever rotates logs has renamed the old one.

        Does nothing without a file. Raises OSError; then the old file is written on.
        """
        if self.path is None:
            return
        fresh = _open(self.path)
        try:
            self._records.put_nowait(fresh)  # the thread that writes changes over: only it uses the descriptor
        except queue.Full:
            os.close(fresh)
            raise OSError(errno.EAGAIN, "the log is stuck", self.path) from None

    def _write(self) -> None:
        while (item := self._records.get()) is not None:
            if isinstance(item, int):
                os.close(self._descriptor)
                self._descriptor = item
                continue
            # One call of the system for each line keeps the lines of several writers whole. What cannot be written is
            # not complained of: there is nowhere to complain.
            with contextlib.suppress(OSError):
                line = memoryview(self._formatter.format(item).encode(errors="backslashreplace") + b"\n")
                while line:
                    line = line[os.write(self._descriptor, line) :]


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
