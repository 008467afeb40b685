# SPDX-License-Identifier: Apache-2.0
"""The functions of the package that are methods of the process's default `Client` of an instance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from tablemgr import segment_names
from tablemgr.client import Client, InstanceInfo
from tablemgr.mailbox import Event
from tablemgr.segments import Process
from tablemgr.table import Table

_defaults: dict[str, Client] = {}


def default_client(instance: str | None = None) -> Client:
    """The process's client of an instance (None: TABLEMGR_INSTANCE or "default"), made at the first use."""
    name = segment_names.resolve_instance(instance)
    client = _defaults.get(name)
    if client is None:
        client = _defaults.setdefault(name, Client(name))  # of two made at once, both know of the same client
    return client


def new_table(
    name: str,
    *,
    type: str = "set",
    access: str = "protected",
    keypos: int = 0,
    heir: Any = "manager",
    heir_data: Any = None,
    max_bytes: int | None = None,
    mode: int = 0o600,
    codec: str = "msgpack",
    wait: float | None = 0.0,
    lock_timeout: float = 10.0,
    instance: str | None = None,
) -> Table:
    """`Client.new_table` of the process's default client for the instance."""
    return default_client(instance).new_table(
        name,
        type=type,
        access=access,
        keypos=keypos,
        heir=heir,
        heir_data=heir_data,
        max_bytes=max_bytes,
        mode=mode,
        codec=codec,
        wait=wait,
        lock_timeout=lock_timeout,
    )


def claim_table(
    name: str,
    create: Callable[[str], Table],
    *,
    populate: Callable[[Table], object] | None = None,
    monitor: bool = False,
    heir_data: Any = None,
    wait: float | None = 0.0,
    codec: str = "msgpack",
    lock_timeout: float = 10.0,
    instance: str | None = None,
) -> Table:
    """`Client.claim_table` of the process's default client for the instance."""
    return default_client(instance).claim_table(
        name,
        create,
        populate=populate,
        monitor=monitor,
        heir_data=heir_data,
        wait=wait,
        codec=codec,
        lock_timeout=lock_timeout,
    )


def abandon_table(table: Table, *, instance: str | None = None) -> None:
    """`Client.abandon_table` of the process's default client for the instance (None: the table's own)."""
    default_client(table.instance if instance is None and isinstance(table, Table) else instance).abandon_table(table)


def register(name: str, *, instance: str | None = None) -> None:
    """`Client.register` of the process's default client for the instance."""
    default_client(instance).register(name)


def whereis(name: str, *, instance: str | None = None) -> Process | None:
    """`Client.whereis` of the process's default client for the instance."""
    return default_client(instance).whereis(name)


def events(timeout: float | None = None, *, instance: str | None = None) -> Iterator[Event]:
    """`Client.events` of the process's default client for the instance."""
    return default_client(instance).events(timeout)


def aevents(timeout: float | None = None, *, instance: str | None = None) -> AsyncIterator[Event]:
    """`Client.aevents` of the process's default client for the instance."""
    return default_client(instance).aevents(timeout)


def add_table(table: Table, *, heir_data: Any = None, instance: str | None = None) -> None:
    """`Client.add_table` of the process's default client for the instance (None: the table's own)."""
    default_client(table.instance if instance is None and isinstance(table, Table) else instance).add_table(
        table, heir_data=heir_data
    )


def del_table(table: Table | str, *, instance: str | None = None) -> None:
    """`Client.del_table` of the process's default client for the instance (None: the table's own)."""
    default_client(table.instance if instance is None and isinstance(table, Table) else instance).del_table(table)


def info(instance: str | None = None) -> InstanceInfo:
    """`Client.info` of the process's default client for the instance."""
    return default_client(instance).info()


def wait_for_manager(timeout: float | None = None, instance: str | None = None) -> None:
    """`Client.wait_for_manager` of the process's default client for the instance."""
    default_client(instance).wait_for_manager(timeout)
