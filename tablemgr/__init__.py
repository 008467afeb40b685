# SPDX-License-Identifier: Apache-2.0
"""Tables in shared memory that survive kill -9 of every process that uses them, with owners and heirs.

`SharedDict` is a dict by name; `create` and `attach` give a `Table` with ETS's verbs; `new_table` gives one that a
manager keeps for the successor of a killed owner. Everything else is in the docstrings and in README.md.
"""

from tablemgr.client import (
    Client,
    InstanceInfo,
    add_table,
    del_table,
    info,
    new_table,
    wait_for_manager,
)
from tablemgr.errors import (
    AccessError,
    BadMatchError,
    CorruptTableError,
    LockTimeoutError,
    ManagerRunningError,
    ManagerUnavailableError,
    NotOwnerError,
    TableClosedError,
    TableError,
    TableExistsError,
    TableFullError,
    TableMismatchError,
    TableNotFoundError,
    TableOwnedError,
    TableTypeError,
)
from tablemgr.manager import Manager
from tablemgr.segments import Process, TableInfo, TableTransfer, drop, tables
from tablemgr.shared_dict import SharedDict
from tablemgr.supervisor import (
    Child,
    ChildExited,
    ChildStarted,
    Supervisor,
    TableHandedBack,
    TooManyRestartsError,
)
from tablemgr.table import END, Atomic, Table, attach, create

__all__ = [
    "END",
    "AccessError",
    "Atomic",
    "BadMatchError",
    "Child",
    "ChildExited",
    "ChildStarted",
    "Client",
    "CorruptTableError",
    "InstanceInfo",
    "LockTimeoutError",
    "Manager",
    "ManagerRunningError",
    "ManagerUnavailableError",
    "NotOwnerError",
    "Process",
    "SharedDict",
    "Supervisor",
    "Table",
    "TableClosedError",
    "TableError",
    "TableExistsError",
    "TableFullError",
    "TableHandedBack",
    "TableInfo",
    "TableMismatchError",
    "TableNotFoundError",
    "TableOwnedError",
    "TableTransfer",
    "TableTypeError",
    "TooManyRestartsError",
    "add_table",
    "attach",
    "create",
    "del_table",
    "drop",
    "info",
    "new_table",
    "tables",
    "wait_for_manager",
]

__version__ = "0.1.0"
