# SPDX-License-Identifier: Apache-2.0
"""The two protocols of systemd that a service speaks: telling it how one is (sd_notify), and taking a socket from it.

Both are a few lines over the standard library and stable for good (man sd_notify, man sd_listen_fds). The libraries
there are would cost more than they save: systemd-python needs libsystemd's headers and a compiler, sdnotify knows only
half of it and has not changed since 2017.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from tablemgr.errors import ManagerUnavailableError

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START


class Notifier:
    """The way to the init system; without one, everything here does nothing."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Takes its variables out of the environment (None: the process's), so that no child speaks in our place."""
        environment = os.environ if environment is None else environment
        self._address = environment.pop("NOTIFY_SOCKET", "")
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        mine = pid in ("", str(os.getpid()))
        self._watchdog = int(usec) / 1e6 if mine and usec.isdigit() and int(usec) else None

    @property
    def watchdog_seconds(self) -> float | None:
        """How often `alive` must be said: twice as often as the init system asks; None: it does not ask."""
        return None if self._watchdog is None else self._watchdog / 2

    def ready(self, status: str) -> None:
        """The manager serves; status for people, in `systemctl status`."""
        self._say(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """SIGHUP is being obeyed; `ready` says when that is done."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1\nSTATUS=ending")

    def alive(self) -> None:
        """For the watchdog."""
        self._say("WATCHDOG=1")

    def _say(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        # an init system that does not listen must not end the service
        with socket.socket(socket.AF_UNIX, kind) as out, contextlib.suppress(OSError):
            out.sendto(message.encode(), address)


def passed_socket(environment: MutableMapping[str, str] | None = None) -> socket.socket | None:
    """The socket that an init system passed to this process; None if it passed none.

    Takes its variables out of the environment (None: the process's). Raises ManagerUnavailableError for anything but
    one socket; whether clients find it is for `rendezvous.check_listener` to say.
    """
    environment = os.environ if environment is None else environment
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) == 0:
        return None
    if int(count) != 1:
        raise ManagerUnavailableError(f"one socket is expected from the init system, not {count}: ListenStream= once")
    os.set_inheritable(_FIRST_PASSED, False)
    try:
        return socket.socket(fileno=_FIRST_PASSED)
    except OSError as error:
        raise ManagerUnavailableError(f"what the init system passed is no socket: {error.strerror}") from error
