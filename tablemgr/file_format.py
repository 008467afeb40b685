# SPDX-License-Identifier: Apache-2.0
"""The file that a table is saved in: `write` and `Source`.

It is a signature, a version, and records; all numbers are big-endian:

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

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import BinaryIO, Final

from tablemgr import _codec, codec as codecs, segments
from tablemgr.errors import CorruptTableError, TableMismatchError

SIGNATURE: Final = b"\x89tmgr\r\n\x1a"
VERSION: Final = 1

_VERSION: Final = struct.Struct(">I")
_RECORD: Final = struct.Struct(">4sQQI")
_CRC: Final = struct.Struct(">I")
_READ_BYTES: Final = 1 << 24  # at a time: a length is believed as far as the file has bytes
_HEAD_BYTES: Final = 1 << 16  # more than any header has

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


def write(file: BinaryIO, header: Header, pages: Iterable[tuple[int, bytes]], progress: Progress | None = None) -> int:
    """Everything, from the signature to the closing record, to a file that need not seek. Returns the number of rows.

    pages: (number of rows, their bytes) of each.
    """
    file.write(SIGNATURE + _VERSION.pack(VERSION))
    crc = _write_record(file, b"HEAD", 0, _codec.encode(asdict(header)), 0)
    total = 0
    for n_rows, page in pages:
        crc = _write_record(file, b"ROWS", n_rows, page, crc)
        total += n_rows
        if progress is not None:
            progress(total, max(total, header.rows))
    _write_record(file, b"DONE", total, _CRC.pack(crc), crc)
    return total


def _write_record(file: BinaryIO, kind: bytes, n_rows: int, payload: bytes, crc: int) -> int:
    """Returns the checksum of the heads of all records so far, this one included."""
    head = _RECORD.pack(kind, len(payload), n_rows, zlib.crc32(payload))
    file.write(head + _CRC.pack(zlib.crc32(head)))
    file.write(payload)
    return zlib.crc32(head, crc)


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
