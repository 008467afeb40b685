# SPDX-License-Identifier: Apache-2.0
"""The manager of an instance: it watches the owners of tables, inherits from the dead, and hands back.

`embedded` (Manager) and `__main__` (the daemon) run a `server` (sockets, pidfds, the clock), which asks `decisions`
(pure) what to do and lets the `estate` (the tables) do it; `watch` tells it of deaths.
"""

from tablemgr.manager.embedded import Manager

__all__ = ["Manager"]
