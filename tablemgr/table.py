# SPDX-License-Identifier: Apache-2.0
"""`Table`: ETS's verbs on a table in shared memory. `create` makes one, `attach` finds one; neither needs a manager.

The verbs on rows are one line each: `self._binding` is the codec extension's view of the handle, which encodes, calls
the core and decodes in one step and raises by way of `Handle.fail`.

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
import math
import operator
import sys
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, NamedTuple, SupportsIndex, final

from tablemgr import _codec, _ffi, bell, codec as codecs, mailbox, names, segments
from tablemgr._ffi import LOCK_TIMEOUT, Handle
from tablemgr.ends import END, End
from tablemgr.errors import AccessError, Status, TableError, TableExistsError, TableMismatchError, TableNotFoundError
from tablemgr.match_compiler import Use
from tablemgr.segments import TableInfo, TableTransfer
from tablemgr.selecting import Selecting

Row = tuple[Any, ...]

_MISSING: Final = object()  # no default: None is a value
_LONGEST_WAIT: Final = 1e9  # seconds; what is longer is this


class Options(NamedTuple):
    """The options of a table that is to be made, checked, in the core's numbers."""

    type: int
    access: int
    keypos: int
    heir: int
    heir_pid: int
    heir_data: bytes
    max_bytes: int
    mode: int
    codec: int


def check_options(
    *,
    type: str = "set",
    access: str = "protected",
    keypos: SupportsIndex = 0,
    heir: Any = None,
    heir_data: Any = None,
    max_bytes: SupportsIndex | None = None,
    mode: int = 0o600,
    codec: str = codecs.MSGPACK,
    instance: str = "",
) -> Options:
    """The options as the core takes them. Raises TypeError, ValueError or LookupError as `create` does."""
    codec_number = codecs.number_of(codec)
    position = _whole(keypos, "keypos")
    if not 0 <= position < 2**31:
        raise ValueError(f"keypos counts the elements of a row from 0, it cannot be {position}")
    limit = 0 if max_bytes is None else _whole(max_bytes, "max_bytes")
    if max_bytes is not None and not 0 < limit < 2**63:
        raise ValueError(f"max_bytes must be a number of bytes or None for no limit, not {limit}")
    bits = _whole(mode, "mode")
    if not 0 <= bits <= 0o777 or bits & 0o600 != 0o600:
        raise ValueError(f"mode must be permission bits that let the owner read and write, like 0o600, not {bits:#o}")
    kind, pid = _heir(heir, instance)
    if kind == _ffi.HEIR_NONE and heir_data is not None:
        raise ValueError("heir_data without an heir would reach nobody: name an heir, or leave it out")
    return Options(
        type=_one_of(segments.TYPES, type, "type"),
        access=_one_of(segments.ACCESSES, access, "access"),
        keypos=position,
        heir=kind,
        heir_pid=pid,
        heir_data=codecs.encode_data(heir_data, codec),
        max_bytes=limit,
        mode=bits,
        codec=codec_number,
    )


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
        heir: who gets the table when the owner dies: "manager", a process (its pid, its `multiprocessing.Process`, or a
            name, for the process that has it now), or None: the table goes with its owner.
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
    instance = segments.resolve_instance(instance)
    segment = segments.segment_name(instance, name)
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
    seconds = _seconds(lock_timeout)
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
    instance = segments.resolve_instance(instance)
    codecs.number_of(codec)
    seconds = _seconds(lock_timeout)
    if readonly is None:
        mapping = _ffi.MAP_AUTO
    elif isinstance(readonly, bool):
        mapping = _ffi.MAP_READ if readonly else _ffi.MAP_WRITE
    else:
        raise TypeError(f"readonly must be True, False or None, not {readonly.__class__.__name__}")
    handle = segments.attach(instance, name, mapping)
    try:
        return over(handle, handle.describe(), instance, codec, seconds, readonly)
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
    instance = segments.resolve_instance(instance)
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


class Table(Selecting):
    """A table of rows: non-empty tuples, of which the key is the element at `keypos`; one row per key, except in bags.

    Keys: None, bool, int, float, str, bytes, date, time, datetime, timedelta, Decimal, UUID, and tuples of these; two
    are equal when type and value are (1, 1.0 and True are three keys). Values: those, list, dict, set, frozenset and
    bytearray, nested at will; with codec="pickle" any picklable object. What comes out is an equal copy of what went
    in.

    Made by `new_table`, `create` and `attach`. Pickles as its name: the other side attaches. Garbage collection closes.

    inherited: whether new_table found the table with a predecessor's rows; transfer: then how it came here, else None.
    """

    __slots__ = (
        "__weakref__",
        "_binding",
        "_codec",
        "_dropped",
        "_handle",
        "_instance",
        "_keypos",
        "_readonly",
        "_table_id",
        "_type",
        "_use_here",
        "inherited",
        "transfer",
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
            handle.pointer,
            self._type in segments.BAG_TYPES,
        )
        self._use(self._binding, self._use_here.ordered)
        self.inherited = False
        self.transfer: TableTransfer | None = None

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

    def info(self) -> TableInfo:
        """Everything known of the table without walking it. Raises TableClosedError, TableNotFoundError."""
        return segments.describe(self._handle)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Table {self.name!r} of instance {self._instance!r}{state}>"

    # -- reading --------------------------------------------------------------------------------------------------

    def lookup(self, key: Any) -> list[Row]:
        """The rows with this key: a list of one row or none, of a bag in the order of their insertion.

        Raises TypeError, ValueError for what cannot be a key.
        """
        return self._binding.lookup(key)

    def lookup_element(self, key: Any, pos: SupportsIndex, default: Any = _MISSING) -> Any:
        """One element, at a position from 0, of the row with this key; default if there is no such row.

        Of a bag a list, of that element of each row.

        Raises KeyError if there is neither, IndexError for a position outside the row, negative ones included.
        """
        binding = self._binding
        return binding.lookup_element(key, pos) if default is _MISSING else binding.lookup_element(key, pos, default)

    def lookup_many(self, keys: Iterable[Any]) -> list[list[Row]]:
        """What lookup says for each key, in their order, in one call of the core; each row is of its own moment."""
        return self._binding.lookup_many(keys)

    def __contains__(self, key: Any) -> bool:
        return self._binding.contains(key)

    def __len__(self) -> int:
        return self._binding.length()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Row]:
        """All rows, in the table's own order, while others write: each that is there throughout comes exactly once."""
        return self._binding.scan()

    # -- walking --------------------------------------------------------------------------------------------------

    def first(self) -> Any:
        """The first key in the table's own order, or END. The order is that of iteration."""
        return self._key(self._binding.step(1))

    def last(self) -> Any:
        """The last key in the table's own order, or END."""
        return self._key(self._binding.step(-1))

    def next(self, key: Any) -> Any:
        """The key after this one, or END. The key has its place in the order also if it is not in the table."""
        return self._key(self._binding.step(1, key))

    def prev(self, key: Any) -> Any:
        """The key before this one, or END. The key has its place in the order also if it is not in the table."""
        return self._key(self._binding.step(-1, key))

    def first_lookup(self) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the first key, or END."""
        return self._key_and_rows(self._binding.step_rows(1))

    def last_lookup(self) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the last key, or END."""
        return self._key_and_rows(self._binding.step_rows(-1))

    def next_lookup(self, key: Any) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the key after this one, or END."""
        return self._key_and_rows(self._binding.step_rows(1, key))

    def prev_lookup(self, key: Any) -> tuple[Any, list[Row]] | End:
        """(key, rows) of the key before this one, or END."""
        return self._key_and_rows(self._binding.step_rows(-1, key))

    def range(
        self, lo: Any = None, hi: Any = None, *, reverse: bool = False, limit: SupportsIndex | None = None
    ) -> Iterator[Row]:
        """The rows of an ordered_set with lo <= key < hi, in the order of their keys, while others write.

        lo, hi: bounds, which need not be keys of the table; None: no bound. reverse: from the end. limit: at most so
        many rows. Each row that is there throughout comes exactly once. Raises TableTypeError for other types of
        table, TypeError, ValueError.
        """
        if self._type == "ordered_set" and (limit is None or (type(limit) is int and 0 <= limit <= sys.maxsize)):
            return self._binding.range(lo, hi, reverse, limit)
        status = self._handle.admits(write=False)
        if status == Status.OK and self._type != "ordered_set":
            status = Status.OPERATION
        if status != Status.OK:
            self._handle.fail(status, "range")
        rows = 0 if limit is None else _whole(limit, "limit")
        if rows < 0:
            raise ValueError(f"limit must be a number of rows from 0 up, not {rows}")
        return self._binding.range(lo, hi, reverse, min(rows, sys.maxsize))

    def _key(self, row: Row | None) -> Any:
        return END if row is None else row[self._keypos]

    def _key_and_rows(self, rows: list[Row] | None) -> tuple[Any, list[Row]] | End:
        return END if rows is None else (rows[0][self._keypos], rows)

    # -- writing --------------------------------------------------------------------------------------------------

    def insert(self, rows: Row | list[Row]) -> None:
        """Put in a row, or a list of rows, in place of those with the same keys; in a bag beside them.

        A row that a `bag` has already keeps its place; to find that out it is compared with all rows of its key.

        A list is one change: others see all of it or nothing, also if this process is killed. Of rows with the same key
        in one list the last one counts. Raises TypeError for what is not a tuple or a list of tuples or has a value of
        an unsupported type, ValueError for a row without an element at keypos or a key over 64 KiB, TableFullError.
        """
        return self._binding.insert(rows)

    def insert_new(self, rows: Row | list[Row]) -> bool:
        """insert, unless the table has a row with one of the keys: then nothing is done and False is returned."""
        return self._binding.insert_new(rows)

    def take(self, key: Any) -> list[Row]:
        """The rows with this key, which are removed in the same step: of several takers one gets them."""
        return self._binding.take(key)

    def delete(self, key: Any) -> int:
        """Remove the rows with this key. Returns how many there were."""
        return self._binding.delete(key)

    def delete_many(self, keys: Iterable[Any]) -> int:
        """delete for each key in one call of the core, each atomic by itself. Returns how many rows there were."""
        return self._binding.delete_many(keys)

    def delete_object(self, row: Row) -> int:
        """Remove this very row, types included. Returns how many there were.

        In a bag the rows of the key that are newer are copied for it, which takes room.
        """
        return self._binding.delete_object(row)

    def delete_all(self) -> int:
        """Remove all rows in one step. Returns how many there were."""
        return self._binding.delete_all()

    def compare_and_swap(self, old_row: Row, new_row: Row) -> bool:
        """Put new_row in the place of old_row if that very row, types included, is there; says whether it was.

        Raises ValueError if the rows have different keys.
        """
        return self._binding.compare_and_swap(old_row, new_row)

    def update_counter(self, key: Any, op: Any, default: Any = _MISSING) -> Any:
        """Add to ints in the row with this key, in one step that loses no other writer's.

        op: n, added to the element after the key; (pos, n); (pos, n, threshold, reset): reset if the sum is over the
        threshold (n >= 0) or under it (n < 0); or a list of such tuples, done in order, all or nothing. default: a row
        that is put in first if there is none with this key. Returns the new value, or the list of them for a list.

        Raises KeyError without row and default, IndexError for a position outside the row, ValueError for that of the
        key, TypeError where the element or the increment is not an int (a bool is none).
        """
        binding = self._binding
        return binding.update_counter(key, op) if default is _MISSING else binding.update_counter(key, op, default)

    def update_element(self, key: Any, spec: Any, default: Any = _MISSING) -> bool:
        """Replace elements of the row with this key in one step.

        spec: (pos, value), or a list of those, done in order, all or nothing. default: a row that is put in first if
        there is none with this key. Returns False if there is neither.

        Raises IndexError for a position outside the row, ValueError for that of the key.
        """
        binding = self._binding
        return binding.update_element(key, spec) if default is _MISSING else binding.update_element(key, spec, default)

    def atomic(self) -> Atomic:
        """A block whose writes all become visible together at its end, or not at all.

        `with table.atomic() as tx:` records what is called on tx and runs it in order when the block ends, each
        operation seeing the ones before it. An exception in the block, or in any of the operations, and SIGKILL at any
        moment leave the table as it was. No lock is held while the block's own code runs.
        """
        return Atomic(self._binding)

    # -- ownership ------------------------------------------------------------------------------------------------

    def give_away(self, to: int | str | BaseProcess, data: Any = None) -> None:
        """Make another live process the owner; only the owner may. Heir and rows stay as they are.

        to: its pid, its `multiprocessing.Process` or the name that it registered; data: a value for it, at most 896
        bytes encoded. It is told by a `TableTransfer`. Raises NotOwnerError, LookupError if there is no such process or
        it is dead, ValueError if it is this one. One atomic step.
        """
        self._own("give_away")
        pid = _pid(to, "the receiver", self._instance)
        encoded = codecs.encode_data(data, self._codec)
        mailbox.put_aside(self._instance, self._handle)
        self._handle.give_away(pid, encoded)
        start = _ffi.process_start(pid)
        if start is not None:
            bell.ring(self._instance, (pid, start), [self.name])
        bell.ring(self._instance, None, [self.name])  # a manager is to watch another process now

    def setopts(self, *, heir: Any = _MISSING, heir_data: Any = _MISSING, access: Any = _MISSING) -> None:
        """Change options as given to create; only the owner may. A new heir without heir_data gets none.

        Raises NotOwnerError, TypeError, ValueError, LookupError (an heir that is no live process). One atomic step.
        """
        raw = self._own("setopts")
        if heir is _MISSING and heir_data is _MISSING and access is _MISSING:
            raise TypeError("setopts: nothing to change; give heir, heir_data or access")
        new_access = None if access is _MISSING else _one_of(segments.ACCESSES, access, "access")
        if heir is _MISSING and heir_data is _MISSING:
            self._handle.setopts(access=new_access)
            return
        kind, pid = (raw.heir, raw.heir_process[0]) if heir is _MISSING else _heir(heir, self._instance)
        value = None if heir_data is _MISSING else heir_data
        if kind == _ffi.HEIR_NONE and value is not None:
            raise ValueError("setopts: heir_data without an heir would reach nobody: name an heir, or leave it out")
        data = codecs.encode_data(value, self._codec)
        self._handle.setopts(heir=kind, heir_pid=pid, heir_data=data, access=new_access)

    def _own(self, verb: str) -> _ffi.RawInfo:
        """The table's description, if this process owns it."""
        raw = self._handle.describe()
        if raw.dropped:
            self._handle.fail(Status.NO_TABLE, verb)
        if raw.owner != _ffi.self_process():
            self._handle.fail(Status.NOT_OWNER, verb)
        return raw

    # -- name, state, end -----------------------------------------------------------------------------------------

    def rename(self, new: str) -> None:
        """Give the table another name in its instance; needs write access. Its own name: nothing is done.

        Raises TableExistsError, ValueError for what cannot be a name. Open handles of all processes go on. One atomic
        step.
        """
        status = self._handle.admits(write=True)
        if status != Status.OK:
            self._handle.fail(status, "rename")
        segment = segments.segment_name(self._instance, new)
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
        raw = self._handle.describe()
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


# -- arguments --------------------------------------------------------------------------------------------------------


def _whole(value: SupportsIndex, what: str) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an int, not {value.__class__.__name__}") from None


def _seconds(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"lock_timeout must be a number of seconds, not {value.__class__.__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"lock_timeout must be a number of seconds from 0 up, not {value}")
    return float(min(value, _LONGEST_WAIT))


def _one_of(names: tuple[str, ...], value: Any, what: str) -> int:
    choice = " or ".join(map(repr, names))
    if not isinstance(value, str):
        raise TypeError(f"{what} must be {choice}, not {value.__class__.__name__}")
    if value not in names:
        raise ValueError(f"{what} must be {choice}, not {value!r}")
    return names.index(value)


def _heir(heir: Any, instance: str) -> tuple[int, int]:
    """(kind, pid) of what was given as an heir."""
    if heir is None:
        return _ffi.HEIR_NONE, 0
    if isinstance(heir, str) and heir == "manager":
        return _ffi.HEIR_MANAGER, 0
    return _ffi.HEIR_PROCESS, _pid(heir, "the heir", instance)


def _pid(process: Any, what: str, instance: str) -> int:
    if isinstance(process, str):
        found = names.whereis(instance, process)
        if found is None:
            raise LookupError(f"{what}, {process!r}, is no process: none of that name is registered and alive")
        return found[0]
    if isinstance(process, BaseProcess):
        if process.pid is None:
            raise LookupError(f"{what}, {process.name}, is not started yet: it has no pid")
        return process.pid
    if isinstance(process, bool) or not hasattr(process, "__index__"):
        raise TypeError(
            f"{what} must be a pid, a multiprocessing.Process or a registered name, not {process.__class__.__name__}"
        )
    pid = operator.index(process)
    if not 0 < pid < 2**31:
        raise LookupError(f"{what} is no process: there is no pid {pid}")
    return pid
