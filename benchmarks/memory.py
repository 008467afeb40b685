# SPDX-License-Identifier: Apache-2.0
"""How many bytes does a row take beyond its key and its value?"""

from __future__ import annotations

import tablemgr as tm
from benchmarks.keys import KEY_BYTES, VALUE_BYTES
from benchmarks.measure import Figures, Plan

QUESTION = "memory"


def run(plan: Plan, figures: Figures, table_name: str, rows: int) -> None:
    """Ask the table for the bytes in use (rows and index) and for those that its segment takes of /dev/shm."""
    with tm.attach(table_name) as table:
        info = table.info()
    for what, n_bytes in (("used", info.bytes_used), ("reserved", info.bytes_reserved)):
        beyond = n_bytes / info.rows - KEY_BYTES - VALUE_BYTES
        figures.add(beyond, question=QUESTION, what=what, store="tablemgr", rows=rows, unit="bytes")
