# SPDX-License-Identifier: Apache-2.0
"""The exit codes of the command line, and the one place that says which error gets which."""

from __future__ import annotations

import enum

from tablemgr import errors


class ExitStatus(enum.IntEnum):
    """What a `tablemgr` command returns to the shell."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    CHECK_FAILED = 4
    INTERRUPTED = 130


class UsageError(Exception):
    """The arguments parse but do not fit together; the message says which."""


class NotFoundError(Exception):
    """A key, a table, a file or a manager that the command was asked for is not there; the message names it."""


def no_table(name: str, instance: str) -> NotFoundError:
    """For a table that is not there, in the words of the command line."""
    return NotFoundError(f"there is no table {name!r} in instance {instance!r}; `tablemgr list` shows those there are")


class RefusedError(Exception):
    """The command line does not do this, though the library might; the message says why."""


def status_of(error: BaseException) -> ExitStatus:
    """The exit code for an exception that ended a command."""
    match error:
        case KeyboardInterrupt():
            return ExitStatus.INTERRUPTED
        case UsageError():
            return ExitStatus.USAGE
        case NotFoundError() | errors.TableNotFoundError():
            return ExitStatus.NOT_FOUND
        case _:
            return ExitStatus.ERROR


def message_of(error: BaseException) -> str:
    """One line for the user: the message of an error we raise ourselves, type and message of any other."""
    text = " ".join(str(error).split())
    if isinstance(error, (errors.TableError, UsageError, NotFoundError, RefusedError, OSError, ValueError)) and text:
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name
