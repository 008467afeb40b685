# SPDX-License-Identifier: Apache-2.0
"""`python -m tablemgr` is the command `tablemgr`."""

import sys

from tablemgr.cli import main

if __name__ == "__main__":
    sys.exit(main())
