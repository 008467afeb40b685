# SPDX-License-Identifier: Apache-2.0
"""Tables in files: `save` and `load`, ETS's tab2file and file2tab.

A file is a signature, a version, and records; all numbers are big-endian:

    8 bytes  89 't' 'm' 'g' 'r' 0d 0a 1a         what a transfer as text would change
    u32      version of what follows: 1
    records  4 bytes kind, u64 bytes of payload, u64 rows, u32 crc32 of the payload, u32 crc32 of the 24 bytes before
             HEAD, first: a msgpack map of name, type, access, keypos, codec, rows (when the saving began)
             ROWS, any number: rows one after the other, as csrc/README.md has them; those of one key in their order
             DONE, last: the rows of all, and a u32, the crc32 of the heads of all records before

So a page is checked when it is read, and the last record says that none is missing, doubled or in another's place. Both
directions are streams: a page at a time is in memory, and its rows are never made into objects.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO, Final

from tablemgr import _codec, codec as codecs, segment_names, segments, table as tables
from tablemgr.errors import CorruptTableError, TableError, TableExistsError, TableMismatchError
from tablemgr.options import check_options
from tablemgr.table import Table

SIGNATURE: Final = b"\x89tmgr\r\n\x1a"
VERSION: Final = 1
PAGE_BYTES: Final = 1 << 18  # at least, of every page of rows but the last

_VERSION: Final = struct.Struct(">I")
_RECORD: Final = struct.Struct(">4sQQI")
_CRC: Final = struct.Struct(">I")
_READ_BYTES: Final = 1 << 24  # at a time: a length is believed as far as the file has bytes
_HEAD_BYTES: Final = 1 << 16  # more than any header has
_NO_TMPFILE: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows expected."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its table. rows: when the saving began, so a guess where others wrote meanwhile."""

    name: str
    type: str
    access: str
    keypos: int
    codec: str
    rows: int


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
    rows of one page of about 256 KiB were read together; the file as a whole is not of one moment.
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


# -- out ---------------------------------------------------------------------------------------------------------------


class _Pages:
    """A table about to be written: what reading it can raise at once is raised when this is made."""

    def __init__(self, table: Table) -> None:
        self._header = header_of(table)
        self._pages = table._binding.pages(PAGE_BYTES)

    def write(self, file: BinaryIO, progress: Progress | None = None) -> int:
        """Everything, from the signature to the closing record. Returns the number of rows."""
        file.write(SIGNATURE + _VERSION.pack(VERSION))
        crc = _write_record(file, b"HEAD", 0, _codec.encode(asdict(self._header)), 0)
        total = 0
        for n_rows, page in self._pages:
            crc = _write_record(file, b"ROWS", n_rows, page, crc)
            total += n_rows
            if progress is not None:
                progress(total, max(total, self._header.rows))
        _write_record(file, b"DONE", total, _CRC.pack(crc), crc)
        return total


def header_of(table: Table) -> Header:
    """What the file of a table says of it. Raises TableClosedError, TableNotFoundError."""
    info = segments.describe(table._handle, "save")
    return Header(info.name, info.type, info.access, info.keypos, info.codec, info.rows)


def write_table(table: Table, file: BinaryIO, progress: Progress | None = None) -> int:
    """Write a table to an open file as `save` does; a file that cannot seek will do. Returns the number of rows."""
    return _Pages(table).write(file, progress)


def _write_record(file: BinaryIO, kind: bytes, n_rows: int, payload: bytes, crc: int) -> int:
    """Returns the checksum of the heads of all records so far, this one included."""
    head = _RECORD.pack(kind, len(payload), n_rows, zlib.crc32(payload))
    file.write(head + _CRC.pack(zlib.crc32(head)))
    file.write(payload)
    return zlib.crc32(head, crc)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends, after everything is on the disk.

    An exception in the block leaves what was there. So does SIGKILL, and nothing else either, where the file system has
    files without a name (O_TMPFILE: nearly all; elsewhere a file `.NAME.XXXXXXXX` may be left).
    """
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file, so it cannot be replaced", str(target))
    temporary = f".{target.name[:100]}.{os.urandom(4).hex()}"
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor, is_named = _temporary_file(directory, temporary)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                yield file
                file.flush()
                os.fsync(descriptor)
                if not is_named:
                    # The descriptor of the directory makes this linkat(), which follows the link that /proc has.
                    os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=directory, dst_dir_fd=directory)
                    is_named = True
            os.replace(temporary, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            if is_named:
                os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


def _temporary_file(directory: int, name: str) -> tuple[int, bool]:
    """A file in the directory, open for writing, and whether it has the name: better it has none."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(".", os.O_TMPFILE | flags, 0o600, dir_fd=directory), False
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    return os.open(name, os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=directory), True


# -- in ----------------------------------------------------------------------------------------------------------------


class Source:
    """A file that is being read: its header at once, then its pages. where: what messages call it.

    Whatever is not as `save` wrote it is a CorruptTableError that says at which byte; n_rows counts what was sound.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._offset = 0
        self._crc = 0
        self.where = where
        self.n_rows = 0
        start = self._take(len(SIGNATURE) + _VERSION.size, "the signature", _HEAD_BYTES)
        if not start.startswith(SIGNATURE):
            raise CorruptTableError(f"load: {where} is not a file that save() wrote")
        (version,) = _VERSION.unpack_from(start, len(SIGNATURE))
        if version != VERSION:
            raise CorruptTableError(
                f"load: {where} has version {version} of the format, this is {VERSION}: use the version that wrote it"
            )
        kind, _, payload = self._record()
        if kind != b"HEAD":
            raise self._damaged("there is no header")
        self.header = self._header(payload)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(number of rows, their bytes) of one page after the other; ends when the closing record was right."""
        while True:
            before = self._crc
            kind, n_rows, payload = self._record()
            if kind == b"DONE":
                break
            if kind != b"ROWS":
                raise self._damaged("a record of an unknown kind")
            yield n_rows, payload
            self.n_rows += n_rows
        if (n_rows, payload) != (self.n_rows, _CRC.pack(before)):
            raise self._damaged("the closing record does not fit what came before it: a part is missing or doubled")
        if self._file.read(1):
            raise self._damaged("there is more behind the closing record")

    def _record(self) -> tuple[bytes, int, bytes]:
        """(kind, rows, payload) of the next record, both checksums verified."""
        head = self._take(_RECORD.size + _CRC.size, "the head of a record", _HEAD_BYTES)
        kind, n_bytes, n_rows, crc = _RECORD.unpack_from(head)
        if head[_RECORD.size :] != _CRC.pack(zlib.crc32(head[: _RECORD.size])):
            raise self._damaged("the head of a record has another checksum than it says", -len(head))
        payload = self._take(n_bytes, "a record", None if kind == b"ROWS" else _HEAD_BYTES)
        if zlib.crc32(payload) != crc:
            raise self._damaged("a record has another checksum than it says", -n_bytes)
        self._crc = zlib.crc32(head[: _RECORD.size], self._crc)
        return kind, n_rows, payload

    def _take(self, n_bytes: int, what: str, most: int | None) -> bytes:
        """So many bytes. Memory is only taken for those that are there."""
        if most is not None and n_bytes > most:
            raise self._damaged(f"{what} of {n_bytes} bytes, which is too long")
        data = self._file.read(min(n_bytes, _READ_BYTES))
        if len(data) < n_bytes:
            parts = [data]
            left = n_bytes - len(data)
            while left and (data := self._file.read(min(left, _READ_BYTES))):
                parts.append(data)
                left -= len(data)
            if left:
                raise self._damaged(f"it is cut off in {what}", n_bytes - left)
            data = b"".join(parts)
        self._offset += n_bytes
        return data

    def _header(self, payload: bytes) -> Header:
        try:
            said = _codec.decode(payload)
            header = Header(*(said[field.name] for field in fields(Header)))
            names = (header.name, header.type, header.access, header.codec)
            numbers = (header.keypos, header.rows)
            if not all(type(name) is str for name in names) or not all(type(n) is int and n >= 0 for n in numbers):
                raise ValueError("the header has values of other types")
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"the header is not one ({error})", -len(payload)) from None
        for name, known, what in (
            (header.type, segments.TYPES, "type"),
            (header.access, segments.ACCESSES, "access"),
            (header.codec, codecs.NAMES, "codec"),
        ):
            if name not in known:
                raise TableMismatchError(
                    f"load: {self.where} holds a table of {what} {name!r}, which this version does not know"
                )
        return header

    def _damaged(self, what: str, at: int = 0) -> CorruptTableError:
        return CorruptTableError(f"load: {self.where} is damaged at byte {self._offset + at}: {what}")

    def unsound(self, what: str) -> CorruptTableError:
        """For the reader of a page: what is in it is nothing that was saved, though the checksums are right."""
        return self._damaged(f"in the page before, {what}")


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
    table = tables.create(
        f"loading {os.getpid()} {os.urandom(4).hex()}",
        type=type,
        access="private",
        keypos=keypos,
        codec=codec,
        instance=instance,
    )
    try:
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
        table.drop()
        raise


def _refuse_taken(instance: str, name: str) -> None:
    """Raises TableExistsError if there is a table of this name, ValueError or TypeError if it cannot be one."""
    segment = segment_names.segment_name(instance, name)
    if tables.is_there(instance, name):
        raise TableExistsError(
            f"load: a table {name!r} exists already; drop() it first, or give another name"
            f"{segments.foreign_user(segment)}"
        )
