# SPDX-License-Identifier: Apache-2.0
"""Tables in files: `save` and `load`, ETS's tab2file and file2tab.

Both are streams: a page at a time is in memory, and its rows are never made into objects.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import BinaryIO, Final

from tablemgr import codec as codecs, file_format, segment_names, segments, table as tables
from tablemgr.errors import CorruptTableError, TableError, TableExistsError, TableFullError, TableMismatchError
from tablemgr.file_format import Header, Progress, Source
from tablemgr.options import check_options
from tablemgr.replacing import replacing
from tablemgr.table import Table

PAGE_BYTES: Final = 1 << 15  # at least, of every page of rows but the last


def save(table: Table, path: str | os.PathLike[str], *, instance: str | None = None) -> int:
    """Write a table to a file, which is replaced in one step when everything is on the disk.

    Args:
        table: an open table that this process may read.
        path: the file. One that is there must be a regular file; it stays as it was if anything goes wrong, also under
            SIGKILL or a power failure. The new one has the table's mode, by default 0o600.
        instance: need not be said, for a table tells its own; ValueError if it is another.

    Returns the number of rows written. Raises TypeError, what reading the table raises (nothing is written then),
    ValueError and OSError.

    Others may read and write meanwhile. Each row is written whole, each that is there throughout exactly once, and the
    rows of one page of about 32 KiB were read together; the file as a whole is not of one moment.
    """
    if not isinstance(table, Table):
        hint = "; give its .table" if hasattr(table, "table") else ""
        raise TypeError(f"save: the first argument must be a Table, not {type(table).__name__}{hint}")
    pages = _Pages(table)
    if instance is not None and instance != table.instance:
        raise ValueError(f"save: table {table.name!r} belongs to instance {table.instance!r}, not {instance!r}")
    with replacing(path, table.info().mode) as file:
        return pages.write(file)


def load(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    access: str | None = None,
    partial: bool = False,
    codec: str = codecs.MSGPACK,
    instance: str | None = None,
) -> Table:
    """Make a table from a file that `save` wrote. The caller is its owner, and it has no heir.

    Args:
        path: the file.
        name, access: of the new table; None: as they were saved. Type, keypos and codec are the file's; mode and
            max_bytes are those of `create`.
        partial: take the rows before the first damage, with a RuntimeWarning that says how many they are, instead of
            refusing the file.
        codec: must be the file's, as for `attach`: "pickle" says that its values may be unpickled here. Nothing is
            unpickled by loading.
        instance: the namespace of tables; None: $TABLEMGR_INSTANCE or "default".

    Raises TableExistsError, TableMismatchError (another codec, an unknown type), CorruptTableError (damaged, cut off,
    not such a file; it says where, and how many rows before that are sound), TableFullError, ValueError, OSError.

    The table appears under its name when it is complete, or never: a refused file, an error and SIGKILL leave none.
    Until then it has a name of its own, "loading PID ...", and is private. A row takes its place as by `insert`, so a
    file of a `bag` takes longer the more rows a key has.
    """
    table, damage = load_file(path, name, access, partial, codec, instance)
    if damage:
        warnings.warn(damage, RuntimeWarning, stacklevel=2)
    return table


def load_file(
    path: str | os.PathLike[str],
    name: str | None,
    access: str | None,
    partial: bool,
    codec: str,
    instance: str | None,
) -> tuple[Table, str]:
    """The table of a file, and what was wrong with that: "", or, with partial, what to warn of. Arguments as `load`."""
    codecs.number_of(codec)
    with open(path, "rb") as file:
        source = Source(file, os.fspath(path))
        if source.header.codec != codec:
            raise TableMismatchError(
                f"load: {source.where} holds a table with codec {source.header.codec!r}, not {codec!r}: load(..., "
                f"codec={source.header.codec!r}) if its values may be unpickled here"
            )
        return read_table(source, name=name, access=access, partial=partial, instance=instance)


class _Pages:
    """A table about to be written: what reading it can raise at once is raised when this is made."""

    def __init__(self, table: Table) -> None:
        self._header = header_of(table)
        self._pages = table._binding.pages(PAGE_BYTES)

    def write(self, file: BinaryIO, progress: Progress | None = None) -> int:
        """All of it. Returns the number of rows."""
        return file_format.write(file, self._header, self._pages, progress)


def header_of(table: Table) -> Header:
    """What the file of a table says of it. Raises TableClosedError, TableNotFoundError."""
    info = segments.describe(table._handle, "save")
    return Header(info.name, info.type, info.access, info.keypos, info.codec, info.rows)


def write_table(table: Table, file: BinaryIO, progress: Progress | None = None) -> int:
    """Write a table to an open file as `save` does; a file that cannot seek will do. Returns the number of rows."""
    return _Pages(table).write(file, progress)


def read_table(
    source: Source,
    *,
    name: str | None = None,
    access: str | None = None,
    partial: bool = False,
    heir: str | None = None,
    instance: str | None = None,
    progress: Progress | None = None,
) -> tuple[Table, str]:
    """The table of a file, whatever its codec, and what was wrong: "", or, with partial, where the file is damaged.

    Arguments and errors are those of `load`; heir: "manager" or None.
    """
    header = source.header
    with building(
        header.name if name is None else name,
        type=header.type,
        access=header.access if access is None else access,
        keypos=header.keypos,
        codec=header.codec,
        heir=heir,
        instance=instance,
    ) as table:
        try:
            for n_rows, page in source.pages():
                _insert(table, source, n_rows, page)
                if progress is not None:
                    progress(source.n_rows + n_rows, max(source.n_rows + n_rows, header.rows))
            if len(table) != source.n_rows:
                raise source.unsound(f"a key occurs again: there are {len(table)} rows of {source.n_rows}")
        except CorruptTableError as error:
            expected = f"of about {header.rows} " if header.rows > source.n_rows else ""
            sound = f"{error}; the {source.n_rows} rows {expected}before that are sound"
            if not partial:
                raise CorruptTableError(f"{sound}: load(..., partial=True) takes those. No table was made") from None
            return table, f"{sound} and were taken"
    return table, ""


def _insert(table: Table, source: Source, n_rows: int, page: bytes) -> None:
    try:
        done = table._binding.insert_packed(page)
    except TableError:
        raise
    except ValueError as error:
        raise source.unsound(str(error)) from None
    if done != n_rows:
        raise source.unsound(f"there are {done} rows instead of {n_rows}")


@contextlib.contextmanager
def building(
    name: str, *, type: str, access: str, keypos: int, codec: str, heir: str | None, instance: str | None
) -> Iterator[Table]:
    """A new table to fill: private and under another name until the block ends, gone if that ends with an exception.

    Owned by this process and without an heir until then, so that a kill leaves nothing. Raises what `create` raises.
    """
    instance = segment_names.resolve_instance(instance)
    check_options(type=type, access=access, keypos=keypos, codec=codec, heir=heir)
    _refuse_taken(instance, name)
    fresh = f"loading {os.getpid()} {os.urandom(4).hex()}"
    table: Table | None = None
    try:
        try:
            table = tables.create(fresh, type=type, access="private", keypos=keypos, codec=codec, instance=instance)
            yield table
            if heir is not None:
                table.setopts(heir=heir)
            table.setopts(access=access)
            while True:
                try:
                    table.rename(name)
                    break
                except TableExistsError:
                    _refuse_taken(instance, name)  # unless it went with its owner just now
        except BaseException:
            if table is not None:
                table.drop()
            else:  # a signal handler may have raised when it was made and nobody had it
                with contextlib.suppress(TableError, OSError):
                    segments.drop(fresh, instance=instance)
            raise
    except TableFullError:
        raise TableFullError(
            f"load: no room for table {name!r}: /dev/shm or the memory limit has too little for it; drop tables, or "
            "enlarge that"
        ) from None


def _refuse_taken(instance: str, name: str) -> None:
    """Raises TableExistsError if there is a table of this name, ValueError or TypeError if it cannot be one."""
    segment = segment_names.segment_name(instance, name)
    if tables.is_there(instance, name):
        raise TableExistsError(
            f"load: a table {name!r} exists already; drop() it first, or give another name"
            f"{segments.foreign_user(segment)}"
        )
