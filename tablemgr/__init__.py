# SPDX-License-Identifier: Apache-2.0
"""Tables in shared memory that survive kill -9 of every process that uses them, with owners and heirs.

`SharedDict` is a dict by name; `create` and `attach` give a `Table` with ETS's verbs; `new_table` gives one that a
manager keeps for the successor of a killed owner. Everything else is in the docstrings and in README.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tablemgr.client import Client, InstanceInfo
from tablemgr.default_client import (
    abandon_table,
    add_table,
    aevents,
    claim_table,
    del_table,
    events,
    info,
    new_table,
    register,
    wait_for_manager,
    whereis,
)
from tablemgr.ends import END
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
from tablemgr.files import load, save
from tablemgr.keeper import TableKeeper
from tablemgr.mailbox import Event, EventsLost, ManagerDown, ManagerUp, OwnerDied
from tablemgr.match_functions import (
    abs_,
    and_,
    band,
    bnot,
    bor,
    bsl,
    bsr,
    bxor,
    ceil,
    element,
    first,
    float_,
    floor,
    is_bool,
    is_bytearray,
    is_bytes,
    is_date,
    is_datetime,
    is_decimal,
    is_dict,
    is_float,
    is_frozenset,
    is_int,
    is_list,
    is_map_key,
    is_none,
    is_number,
    is_same,
    is_set,
    is_str,
    is_time,
    is_timedelta,
    is_tuple,
    is_uuid,
    last,
    length,
    map_get,
    max_,
    min_,
    not_,
    or_,
    rest,
    round_,
    size,
    trunc,
)
from tablemgr.match_program import Query
from tablemgr.matching import ANY, ROW, VARS, Clause, var, vars
from tablemgr.segments import Process, TableInfo, TableTransfer, tables
from tablemgr.shared_dict import SharedDict
from tablemgr.table import Atomic, Table, attach, create, drop

if TYPE_CHECKING:
    from tablemgr.manager import Manager
    from tablemgr.supervisor.child import Child
    from tablemgr.supervisor.events import (
        ChildExited,
        ChildStarted,
        ChildStatus,
        TableHandedBack,
        TooManyRestartsError,
    )
    from tablemgr.supervisor.supervisor import Supervisor

__all__ = [
    "ANY",
    "END",
    "ROW",
    "VARS",
    "AccessError",
    "Atomic",
    "BadMatchError",
    "Child",
    "ChildExited",
    "ChildStarted",
    "ChildStatus",
    "Clause",
    "Client",
    "CorruptTableError",
    "Event",
    "EventsLost",
    "InstanceInfo",
    "LockTimeoutError",
    "Manager",
    "ManagerDown",
    "ManagerRunningError",
    "ManagerUnavailableError",
    "ManagerUp",
    "NotOwnerError",
    "OwnerDied",
    "Process",
    "Query",
    "SharedDict",
    "Supervisor",
    "Table",
    "TableClosedError",
    "TableError",
    "TableExistsError",
    "TableFullError",
    "TableHandedBack",
    "TableInfo",
    "TableKeeper",
    "TableMismatchError",
    "TableNotFoundError",
    "TableOwnedError",
    "TableTransfer",
    "TableTypeError",
    "TooManyRestartsError",
    "abandon_table",
    "abs_",
    "add_table",
    "aevents",
    "and_",
    "attach",
    "band",
    "bnot",
    "bor",
    "bsl",
    "bsr",
    "bxor",
    "ceil",
    "claim_table",
    "create",
    "del_table",
    "drop",
    "element",
    "events",
    "first",
    "float_",
    "floor",
    "info",
    "is_bool",
    "is_bytearray",
    "is_bytes",
    "is_date",
    "is_datetime",
    "is_decimal",
    "is_dict",
    "is_float",
    "is_frozenset",
    "is_int",
    "is_list",
    "is_map_key",
    "is_none",
    "is_number",
    "is_same",
    "is_set",
    "is_str",
    "is_time",
    "is_timedelta",
    "is_tuple",
    "is_uuid",
    "last",
    "length",
    "load",
    "map_get",
    "max_",
    "min_",
    "new_table",
    "not_",
    "or_",
    "register",
    "rest",
    "round_",
    "save",
    "size",
    "tables",
    "trunc",
    "var",
    "vars",
    "wait_for_manager",
    "whereis",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a type checker would take any name for one of the module's
    _LATER = {
        "Manager": "tablemgr.manager",
        "Child": "tablemgr.supervisor.child",
        "Supervisor": "tablemgr.supervisor.supervisor",
        **dict.fromkeys(("ChildExited", "ChildStarted", "ChildStatus"), "tablemgr.supervisor.events"),
        **dict.fromkeys(("TableHandedBack", "TooManyRestartsError"), "tablemgr.supervisor.events"),
    }

    def __getattr__(name: str) -> Any:
        """What a worker has no use for, an event loop above all, is imported when it is asked for.

        A smaller process starts sooner, and dies sooner: the kernel tells of its end when its memory is given back.
        """
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LATER[name]), name)
        return value

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]
