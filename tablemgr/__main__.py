# SPDX-License-Identifier: Apache-2.0
"""The command `tablemgr`, also as `python -m tablemgr`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command line on `sys.argv`; returns an exit code.

    An interrupt while it is being imported ends the process as it ends any program: silently."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tablemgr import cli

    signal.signal(signal.SIGINT, before)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
