# SPDX-License-Identifier: Apache-2.0
"""`python -m tablemgr.manager --instance NAME [--detach]`: a manager as a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from tablemgr.errors import ManagerRunningError, TableError
from tablemgr.manager.embedded import Manager
from tablemgr.manager.limits import raise_descriptor_limit
from tablemgr.manager.sole import ManagedElsewhereError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean end, 1 if it could not start (the reason is on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m tablemgr.manager", description="The manager of one instance.")
    parser.add_argument("--instance", required=True, help="the namespace of tables to look after")
    parser.add_argument("--detach", action="store_true", help="go on in the background, say 'ready' when serving")
    options = parser.parse_args(arguments)
    if options.detach:
        _detach()
    raise_descriptor_limit()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whatever the thread that started us had blocked
    try:
        Manager(options.instance).run(_now_in_background if options.detach else _say_nothing, exiting=True)
    except ManagerRunningError as error:
        if options.detach and not isinstance(error, ManagedElsewhereError):
            print("running", flush=True)  # just as good, for whoever wanted one to run
            return 0
        print(error, file=sys.stderr, flush=True)
        return 1
    except (TableError, OSError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def _detach() -> None:
    """Go on as nobody's child: the caller leads a session, so a fork gives up its leadership and its parent."""
    os.chdir("/")
    os.umask(0o077)
    if os.fork():
        os._exit(0)


def _now_in_background() -> None:
    """Say that we serve, and let go of whoever waits for the end of our output."""
    print("ready", flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _say_nothing() -> None:
    """In the foreground, being there is enough."""


if __name__ == "__main__":
    sys.exit(main())
