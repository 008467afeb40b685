# SPDX-License-Identifier: Apache-2.0
"""`Namespace`: the tables of one instance as a `Client` reaches them without a manager.

Each method is the package's function of that name, told the instance; what it does is written there.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, SupportsIndex

from tablemgr import codec as codecs, files, segments, table as single
from tablemgr._ffi import LOCK_TIMEOUT
from tablemgr.segments import TableInfo
from tablemgr.table import Table


class Namespace:
    """What may be done with the tables of an instance, whether or not a manager runs."""

    instance: str

    def create(
        self,
        name: str,
        *,
        type: str = "set",
        access: str = "protected",
        keypos: SupportsIndex = 0,
        heir: Any = None,
        heir_data: Any = None,
        max_bytes: SupportsIndex | None = None,
        mode: int = 0o600,
        codec: str = codecs.MSGPACK,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> Table:
        """Make a table, whose owner is this process: `tablemgr.create` in this client's instance."""
        return single.create(
            name,
            type=type,
            access=access,
            keypos=keypos,
            heir=heir,
            heir_data=heir_data,
            max_bytes=max_bytes,
            mode=mode,
            codec=codec,
            lock_timeout=lock_timeout,
            instance=self.instance,
        )

    def attach(
        self,
        name: str,
        *,
        readonly: bool | None = None,
        codec: str = codecs.MSGPACK,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> Table:
        """A handle on a table that is there: `tablemgr.attach` in this client's instance."""
        return single.attach(name, readonly=readonly, codec=codec, lock_timeout=lock_timeout, instance=self.instance)

    def tables(self) -> list[TableInfo]:
        """Every table of the instance, by name: `tablemgr.tables` of this client's instance."""
        return segments.tables(self.instance)

    def drop(self, name: str, force: bool = False) -> None:
        """Remove a table for everybody: `tablemgr.drop` in this client's instance."""
        single.drop(name, force, self.instance)

    def save(self, table: Table, path: str | os.PathLike[str]) -> int:
        """Write a table to a file: `tablemgr.save`. Raises ValueError if the table is another instance's."""
        return files.save(table, path, instance=self.instance)

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        access: str | None = None,
        partial: bool = False,
        codec: str = codecs.MSGPACK,
    ) -> Table:
        """Make a table from a file that `save` wrote: `tablemgr.load` into this client's instance."""
        table, damage = files.load_file(path, name, access, partial, codec, self.instance)
        if damage:
            warnings.warn(damage, RuntimeWarning, stacklevel=2)
        return table
