# SPDX-License-Identifier: Apache-2.0
"""`python -m tablemgr.manager.loading INSTANCE`: tables from files, made by a process that then ends.

Standard input is a JSON list of [name, path]. Standard output has one JSON object for each, an `Outcome`, as soon as it
is known, so that whoever reads knows with which file a process that was killed was busy.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass

from tablemgr import files
from tablemgr.errors import TableError, TableExistsError
from tablemgr.file_format import Source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: a table of so many rows, or why not; neither if the table was there before."""

    rows: int | None = None
    reason: str | None = None


def load(name: str, path: str, instance: str) -> Outcome:
    """Make one table, whose heir is the manager."""
    try:
        with open(path, "rb") as file:
            table, _ = files.read_table(Source(file, path), name=name, heir="manager", instance=instance)
        with table:
            return Outcome(rows=len(table))
    except TableExistsError:
        return Outcome()
    except (TableError, OSError, ValueError, MemoryError) as error:
        return Outcome(reason=str(error) or type(error).__name__)


def main() -> int:
    """Load what standard input says."""
    (instance,) = sys.argv[1:]
    for name, path in json.load(sys.stdin):
        print(json.dumps(dataclasses.asdict(load(name, path, instance))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
