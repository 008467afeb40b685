# SPDX-License-Identifier: Apache-2.0
"""`Table`: ETS's verbs on a table in shared memory. `create` makes one, `attach` finds one; neither needs a manager.

Here is what a table is as a whole. Its verbs on rows by their keys are in rows.py, those in the order of the keys in
walking.py, those that ask patterns in selecting.py, and its owner's in ownership.py.

What every verb guarantees, and its docstring does not repeat:
 - a write that has returned survives SIGKILL of any process; a write that was cut short is there whole or not at all;
 - a read never waits, sees no half-written row, and no state between the two sides of a multi-row write;
 - a write waits for another writer of the same part of the table, at most `lock_timeout` seconds (LockTimeoutError);
 - an exception means that the table is as it was. First comes TableClosedError or TableNotFoundError, then AccessError,
   then what is wrong with the arguments, then what the rows in the table have against it;
 - every method may be called from any number of threads and processes at a time.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from types import TracebackType
from typing import Any, SupportsIndex, final

from tablemgr import _codec, _ffi, codec as codecs, mailbox, segment_names, segments
from tablemgr._ffi import LOCK_TIMEOUT, Handle
from tablemgr.errors import AccessError, Status, TableError, TableExistsError, TableMismatchError, TableNotFoundError
from tablemgr.match_compiler import Use
from tablemgr.options import check_options, seconds_of
from tablemgr.ownership import Owning
from tablemgr.rows import Rows
from tablemgr.segments import TableInfo, TableTransfer
from tablemgr.selecting import Selecting
from tablemgr.walking import Walking

#: the instance and name of a table that goes with its creator until it is whole, whatever heir it is created with
unfinished: ContextVar[tuple[str, str] | None] = ContextVar("unfinished", default=None)


def create(
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
    instance: str | None = None,
) -> Table:
    """Make a table, whose owner is this process. No manager is involved.

    Args:
        name: any non-empty text without NUL that fits into a file name once it is percent-encoded.
        type: "set": one row per key; "ordered_set": one row per key, in the order of the keys, numbers equal by value;
            "bag": any number of different rows per key; "duplicate_bag": of equal ones too.
        access: who may write and read: "public" everybody, "protected" everybody reads and the owner writes, "private"
            the owner only.
        keypos: the position of the key in every row, from 0.
        heir: who gets the table when the owner dies: "manager", a process (its pid, its `multiprocessing.Process`, a
            name, for the process that has it now, or what `whereis` gave), or None: the table goes with its owner.
        heir_data: a value for the heir, at most 896 bytes encoded.
        max_bytes: limit of the segment in bytes; None: what /dev/shm holds.
        mode: permission bits of the segment, not subject to the umask.
        codec: "msgpack", or "pickle" to allow any picklable value outside keys.
        lock_timeout: seconds that a write waits for another writer.
        instance: the namespace of tables; None: $TABLEMGR_INSTANCE or "default".

    Raises TableExistsError, TableFullError, ValueError (a name or option out of its range), TypeError, LookupError (an
    heir that is no live process), OSError. Of any number of creators of one name exactly one succeeds; killed at any
    moment, it leaves the whole table or nothing.
    """
    instance = segment_names.resolve_instance(instance)
    segment = segment_names.segment_name(instance, name)
    options = check_options(
        type=type,
        access=access,
        keypos=keypos,
        heir=heir,
        heir_data=heir_data,
        max_bytes=max_bytes,
        mode=mode,
        codec=codec,
        instance=instance,
    )
    if unfinished.get() == (instance, name):
        options = options._replace(heir=_ffi.HEIR_NONE, heir_process=(0, 0), heir_data=b"")
    seconds = seconds_of(lock_timeout, "lock_timeout")
    while True:
        try:
            handle = Handle.create(segment, name, **options._asdict())
        except TableExistsError as error:
            if is_there(instance, name):
                raise TableExistsError(f"{error}{segments.foreign_user(segment)}") from None
        else:
            return Table(handle, handle.describe(), instance, codec, seconds)


def attach(
    name: str,
    *,
    readonly: bool | None = None,
    codec: str = codecs.MSGPACK,
    lock_timeout: float = LOCK_TIMEOUT,
    instance: str | None = None,
) -> Table:
    """A handle on a table that is there. No manager is involved; nobody's ownership changes.

    Args:
        name: as given to create.
        readonly: True maps the segment read-only, False insists on writing, None does what the segment's mode allows;
            but what belongs to another user than this one and root is read-only, unless False says to trust that user.
        codec: must be the table's: "pickle" says that its values may be unpickled here.
        lock_timeout: seconds that a write through this handle waits for another writer.
        instance: the namespace of tables; None: $TABLEMGR_INSTANCE or "default".

    Raises TableNotFoundError, TableMismatchError (another codec), AccessError (the segment's mode), CorruptTableError,
    TypeError, ValueError, OSError. Attaching to a private table works; its verbs raise AccessError.
    """
    instance = segment_names.resolve_instance(instance)
    codecs.number_of(codec)
    seconds = seconds_of(lock_timeout, "lock_timeout")
    if readonly is None:
        mapping = _ffi.MAP_AUTO
    elif isinstance(readonly, bool):
        mapping = _ffi.MAP_READ if readonly else _ffi.MAP_WRITE
    else:
        raise TypeError(f"readonly must be True, False or None, not {readonly.__class__.__name__}")
    handle, raw = segments.attach_and_describe(instance, name, mapping)
    try:
        return over(handle, raw, instance, codec, seconds, readonly)
    except BaseException:
        handle.close()
        raise


def over(
    handle: Handle, raw: _ffi.RawInfo, instance: str, codec: str, lock_timeout: float, readonly: bool | None = None
) -> Table:
    """The table behind a handle, which raw describes. Raises TableMismatchError, AccessError, ValueError."""
    if raw.codec == codecs.number_of(codecs.PICKLE) and not raw.trusted:
        raise AccessError(
            f"attach: table {raw.name!r} belongs to {_ffi.user_text(raw.uid)} and holds pickles: unpickling would run "
            "what that user wants; let it use codec='msgpack'"
        )
    if raw.type >= len(segments.TYPES):
        raise TableMismatchError(
            f"attach: table {raw.name!r} is of a type that this version does not know ({raw.type})"
        )
    if raw.codec != codecs.number_of(codec):
        raise TableMismatchError(
            f"attach: table {raw.name!r} has codec {codecs.name_of(raw.codec)!r}, not {codec!r}: "
            f"attach({raw.name!r}, codec={codecs.name_of(raw.codec)!r}) if its values may be unpickled here"
        )
    return Table(handle, raw, instance, codec, lock_timeout, readonly)


def drop(name: str, force: bool = False, instance: str | None = None) -> None:
    """Remove a table for everybody; processes that have it open get TableNotFoundError from their next call on.

    Needs write access to the table, as its owner or by its being public, or nobody alive to own it but a manager that
    keeps it for a successor; force: only the rights on its file count, and damaged ones go too. Raises
    TableNotFoundError, AccessError, CorruptTableError, LockTimeoutError (a stopped process is changing its owner).

    Guarantee: a table that is not public is dropped, or claimed by another process, never both.
    """
    instance = segment_names.resolve_instance(instance)
    with contextlib.suppress(TableError, OSError):  # what it is, is the next call's to say
        handle = segments.attach(instance, name, _ffi.MAP_HEAD)
        try:
            mailbox.put_aside(instance, handle)
        finally:
            handle.close()
    segments.drop(name, force, instance)


def is_there(instance: str, name: str) -> bool:
    """Whether the name is really taken; a table that went with its owner is removed by the look."""
    try:
        segments.attach(instance, name, _ffi.MAP_HEAD).close()
    except TableNotFoundError:
        return False
    except (ValueError, OSError):
        return True  # damaged, or another user's
    return True


class Table(Rows, Walking, Selecting, Owning):
    """A table of rows: non-empty tuples, of which the key is the element at `keypos`; one row per key, except in bags.

    Keys: None, bool, int, float, str, bytes, date, time, datetime, timedelta, Decimal, UUID, and tuples of these; two
    are equal when type and value are (1, 1.0 and True are three keys). Values: those, list, dict, set, frozenset and
    bytearray, nested at will; with codec="pickle" any picklable object. What comes out is an equal copy of what went
    in.

    Made by `new_table`, `create` and `attach`. Pickles as its name: the other side attaches. Garbage collection closes.
    """

    __slots__ = (
        "__weakref__",
        "_binding",
        "_came",
        "_codec",
        "_dropped",
        "_handle",
        "_instance",
        "_keypos",
        "_readonly",
        "_table_id",
        "_type",
        "_use_here",
    )

    def __init__(
        self,
        handle: Handle,
        raw: _ffi.RawInfo,
        instance: str,
        codec: str,
        lock_timeout: float,
        readonly: bool | None = None,
    ) -> None:
        """For the package's own use: a table over a handle, which it closes. raw: what the handle says of it."""
        handle.lock_timeout = lock_timeout
        self._handle = handle
        self._instance = instance
        self._codec = codec
        self._readonly = readonly
        self._dropped = False
        self._keypos = raw.keypos
        self._table_id = raw.table_id
        self._type = segments.TYPES[raw.type]
        self._use_here = Use(raw.keypos, self._type == "ordered_set", codec == codecs.PICKLE)
        self._binding = _codec.Binding(
            handle.address,
            self._keypos,
            codec == codecs.PICKLE,
            lock_timeout,
            handle.fail,
            handle.memory,
            self._type in segments.BAG_TYPES,
        )
        self._use(self._binding, self._use_here.ordered)
        self._came: _ffi.RawInfo | None = None  # what the segment said when it came from another process

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The table's name, also if another process has renamed it."""
        return self._handle.name

    @property
    def instance(self) -> str:
        """The namespace that the name is in."""
        return self._instance

    @property
    def keypos(self) -> int:
        """The position of the key in every row."""
        return self._keypos

    @property
    def codec(self) -> str:
        """ "msgpack" or "pickle"."""
        return self._codec

    @property
    def lock_timeout(self) -> float:
        """Seconds that a write through this handle waits for another writer."""
        return self._handle.lock_timeout

    @property
    def closed(self) -> bool:
        """Whether close() was called on this handle."""
        return self._handle.closed

    @property
    def transfer(self) -> TableTransfer | None:
        """From whom, why and when the table came here by `new_table`, `claim_table` or `add_table`, and with what data.

        None if this process made it, or only attached to it. Raises what unpickling the data raises.
        """
        return None if self._came is None else segments.transfer(self._came, self._codec)

    @property
    def inherited(self) -> bool:
        """Whether the table came with the rows of an owner before, of whom `transfer` tells."""
        return self._came is not None

    def info(self) -> TableInfo:
        """Everything known of the table without walking it. Raises TableClosedError, TableNotFoundError."""
        return segments.describe(self._handle)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Table {self.name!r} of instance {self._instance!r}{state}>"

    # -- several writes as one ------------------------------------------------------------------------------------

    def atomic(self) -> Atomic:
        """A block whose writes all become visible together at its end, or not at all.

        `with table.atomic() as tx:` records what is called on tx and runs it in order when the block ends, each
        operation seeing the ones before it. An exception in the block, or in any of the operations, and SIGKILL at any
        moment leave the table as it was. No lock is held while the block's own code runs. A closed handle, or one
        whose table was dropped, raises as the block is entered.
        """
        return Atomic(self._binding)

    # -- name, state, end -----------------------------------------------------------------------------------------

    def rename(self, new: str) -> None:
        """Give the table another name in its instance; needs write access. Its own name: nothing is done.

        Raises TableExistsError, ValueError for what cannot be a name. Open handles of all processes go on. One atomic
        step.
        """
        status = self._handle.admits(write=True)
        if status != Status.OK:
            self._handle.fail(status, "rename")
        try:
            segment = segment_names.segment_name(self._instance, new)
        except (TypeError, ValueError) as error:
            self._handle.blame("rename", error)
        if new != self.name:
            self._handle.rename(segment, new)

    def relink(self) -> None:
        """Give the table its name back after somebody has removed its segment without a drop: rm, RemoveIPC of systemd.

        Until then every handle raises TableNotFoundError and says so. The rows are copied into a new segment, which
        takes as much memory as the old one until the handles of all processes have made a call and so gone over to it;
        they need not do anything for that. Does nothing if the table is in its place.

        Needs the right to write, or nobody alive to own the table. Raises TableExistsError (another table has the name
        by now: never two tables under it), TableNotFoundError (it was dropped), AccessError, TableFullError,
        LockTimeoutError (call again), OSError (another file system is mounted at /dev/shm).

        Guarantee: there is one table or none at any moment, whoever writes or is killed meanwhile, and what was
        written before is in it. After a kill in the midst of it any process with a handle may call relink again.
        """
        self._handle.relink()

    def check(self) -> list[str]:
        """Walk everything and name each broken invariant; an empty list says that the table is sound.

        Where this handle may write, what a killed writer left to do is done first. Writers wait meanwhile, readers do
        not. Raises LockTimeoutError.
        """
        raw = self._handle.describe("check")
        return self._handle.check(repair=not (raw.readonly or raw.foreign_namespace))

    def close(self) -> None:
        """End the use of this handle; the table stays. Waits for calls of other threads. Idempotent."""
        self._handle.close()

    def drop(self) -> None:
        """Remove the table for everybody, unless that has happened; needs write access, or an orphan. Idempotent.

        Handles on it, this one too, raise TableNotFoundError from then on. Its memory goes back to the system when the
        last of them is closed; this one is.
        """
        if self._dropped:
            return
        mailbox.put_aside(self._instance, self._handle)
        with contextlib.suppress(TableNotFoundError):
            segments.remove(self._handle)
        self._handle.close_dropped()
        self._dropped = True

    def __enter__(self) -> Table:
        status = self._handle.admits(write=False)
        if status in (Status.CLOSED, Status.NO_TABLE):
            self._handle.fail(status, "with")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _attach_again, (self.name, self._instance, self._codec, self.lock_timeout, self._readonly)


@final
class Atomic(_codec.Batch):
    """The block of `Table.atomic()`. Its methods record and return None; they take what the table's take.

    One call at a time: another meanwhile, from a second thread or from a value as it is pickled, raises ValueError.
    """

    __slots__ = ()


def _attach_again(name: str, instance: str, codec: str, lock_timeout: float, readonly: bool | None) -> Table:
    """The other end of a pickled table."""
    return attach(name, readonly=readonly, codec=codec, lock_timeout=lock_timeout, instance=instance)
