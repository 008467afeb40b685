# SPDX-License-Identifier: Apache-2.0
"""Running worker processes and bringing back those that die, with their tables in hand: OTP's supervisor.

`children` says what there is to run and what can happen to it, `worker` is what runs in a child's process, `running`
one child's process as its parent sees it, `family` all of them and the strategies, `signals` what SIGTERM and SIGINT
mean meanwhile, `supervisor` what is called.
"""

from tablemgr.supervisor.children import (
    Child,
    ChildExited,
    ChildStarted,
    ChildStatus,
    Event,
    TableHandedBack,
    TooManyRestartsError,
)
from tablemgr.supervisor.supervisor import Supervisor

__all__ = [
    "Child",
    "ChildExited",
    "ChildStarted",
    "ChildStatus",
    "Event",
    "Supervisor",
    "TableHandedBack",
    "TooManyRestartsError",
]
