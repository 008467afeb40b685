# SPDX-License-Identifier: Apache-2.0
"""Attaching to a table on behalf of a command, whatever its codec."""

from __future__ import annotations

from tablemgr import segment_names, segments, table
from tablemgr.cli.exits import RefusedError, no_table
from tablemgr.errors import TableNotFoundError


def attach(name: str, instance: str | None, *, readonly: bool, packed: bool = False) -> table.Table:
    """A handle on the table. Raises `NotFoundError`.

    `RefusedError` if its rows are pickles: what they do when they are read is not known.
    packed: rows will only be handled as they are packed, so pickles will do."""
    instance = segment_names.resolve_instance(instance)
    try:
        handle = segments.attach(instance, name)
    except TableNotFoundError:
        raise no_table(name, instance) from None
    try:
        codec = segments.describe(handle).codec
    finally:
        handle.close()
    if codec != "msgpack" and not packed:
        raise RefusedError(
            f"table {name!r} has codec={codec!r}: unpickling runs code, attach to it in Python if you trust it"
        )
    return table.attach(name, readonly=True if readonly else None, codec=codec, instance=instance)
