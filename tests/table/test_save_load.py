# SPDX-License-Identifier: Apache-2.0
"""save and load: a table in a file, whole or not at all, whatever happens on the way."""

import contextlib
import datetime as dt
import decimal
import errno
import io
import os
import stat
import struct
import uuid
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _codec, file_format, files, segments
from tablemgr.replacing import replacing
from tests.support.child import Child, in_child
from tests.support.interrupt import interrupted

BAGS = tuple(kind for kind in segments.TYPES if "bag" in kind)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**100,
    1.5,
    float("inf"),
    "Grüße",
    b"\x00\xff",
    (1, (2,)),
    [1, [2]],
    {"a": {1: 2}},
    {1, 2},
    frozenset({3}),
    bytearray(b"xyz"),
    decimal.Decimal("1.10"),
    uuid.UUID(int=5),
    dt.date(2024, 2, 29),
    dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone.utc),
    dt.time(1, 2),
    dt.timedelta(days=-1, microseconds=1),
)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a file can be; nothing else may be there in the end."""
    yield tmp_path / "table.tm"
    assert set(os.listdir(tmp_path)) <= {"table.tm"}


def make(name: str = "t", n: int = 1000, **options: Any) -> tm.Table:
    """A table of n rows and one of every type of value."""
    table = tm.create(name, **options)
    table.insert([(i, f"row {i}", VALUES[i % len(VALUES)]) for i in range(n)])
    return table


def contents(table: tm.Table) -> list[str]:
    """The rows, comparable; in order where the type has one."""
    rows = [repr(row) for row in table]
    return sorted(rows)


@pytest.mark.parametrize("kind", segments.TYPES)
@pytest.mark.parametrize(("access", "keypos"), [("public", 0), ("protected", 1), ("private", 0)])
def test_what_is_saved_is_loaded(path: Path, kind: str, access: str, keypos: int) -> None:
    """Name, type, access, keypos, codec and every row; the caller is the owner, and there is no heir."""
    table = make(type=kind, access=access, keypos=keypos)
    rows, order = contents(table), list(map(repr, table))
    assert tm.save(table, path) == 1000
    table.drop()
    loaded = tm.load(path)
    info = loaded.info()
    assert (info.name, info.type, info.access, info.keypos, info.codec) == ("t", kind, access, keypos, "msgpack")
    assert info.owner is not None
    assert (info.owner.pid, info.heir, info.mode) == (os.getpid(), None, 0o600)
    assert contents(loaded) == rows
    assert len(loaded) == 1000
    if kind == "ordered_set":
        assert list(map(repr, loaded)) == order
    assert loaded.check() == []
    loaded.insert((1, 1, "new"))


@pytest.mark.parametrize("kind", BAGS)
def test_the_rows_of_a_key_keep_their_order(path: Path, kind: str) -> None:
    """Also where the key was in the table before, and rows of it were deleted."""
    table = tm.create("t", type=kind)
    for n in range(3000):
        table.insert((n % 7, n // 2))
    table.delete_object((3, 5))
    rows = {key: table.lookup(key) for key in range(7)}
    assert tm.save(table, path) == len(table)
    loaded = tm.load(path, name="again")
    assert {key: loaded.lookup(key) for key in range(7)} == rows


def test_name_and_access_can_be_others(path: Path) -> None:
    """And the instance; type, keypos and codec are the file's."""
    table = make()
    tm.save(table, path)
    with pytest.raises(tm.TableExistsError, match="'t'"):
        tm.load(path)
    other = tm.load(path, name="Grüße/..", access="public")
    assert (other.name, other.info().access, contents(other)) == ("Grüße/..", "public", contents(table))
    assert {info.name for info in tm.tables()} == {"t", "Grüße/.."}
    for arguments, error in (
        ({"name": ""}, ValueError),
        ({"name": 1}, TypeError),
        ({"name": "x", "access": "none"}, ValueError),
        ({"name": "x", "codec": "json"}, ValueError),
        ({"name": "x", "instance": ""}, ValueError),
    ):
        with pytest.raises(error):
            tm.load(path, **arguments)
    assert len(tm.tables()) == 2


def test_an_empty_table_and_long_rows_are_saved(path: Path) -> None:
    """No rows at all, and a row that is larger than a page, beside many small ones."""
    empty = tm.create("empty")
    assert tm.save(empty, path) == 0
    assert list(tm.load(path, name="e2")) == []
    long = tm.create("long")
    long.insert([("long", b"x" * 3_000_000), *((n, "") for n in range(20_000))])
    assert tm.save(long, str(path)) == 20_001
    again = tm.load(os.fspath(path), name="l2")
    assert again.lookup("long") == [("long", b"x" * 3_000_000)]
    assert contents(again) == contents(long)


def test_a_file_keeps_the_mode_of_the_table(path: Path) -> None:
    """0o600 unless the table was made for others too; the umask has no say."""
    before = os.umask(0o077)
    try:
        for mode in (0o600, 0o644):
            table = tm.create(f"t{mode}", mode=mode)
            tm.save(table, path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_what_cannot_be_read_is_not_saved(path: Path) -> None:
    """A closed or dropped table, another's private one, and what is no table: the file stays as it was."""
    path.write_bytes(b"before")
    closed = tm.create("closed")
    closed.close()
    dropped = tm.create("dropped")
    dropped.drop()

    def own(pipe: Any) -> None:
        tm.create("private", access="private").insert((1,))
        pipe.send(None)
        pipe.recv()

    with Child(own) as owner:
        owner.receive()
        for table, error in (
            (closed, tm.TableClosedError),
            (dropped, tm.TableNotFoundError),
            (tm.attach("private"), tm.AccessError),
        ):
            with pytest.raises(error):
                tm.save(table, path)
    wrongs: tuple[Any, ...] = (tm.SharedDict("d"), "t", None)
    for wrong in wrongs:
        with pytest.raises(TypeError, match="Table"):
            tm.save(wrong, path)
    assert path.read_bytes() == b"before"


def test_a_table_that_is_dropped_while_it_is_saved_leaves_the_file_as_it_was(path: Path) -> None:
    """The error is that of reading it."""
    table = make()
    path.write_bytes(b"before")
    with pytest.raises(tm.TableNotFoundError), replacing(path) as file:
        pages = files._Pages(table)
        tm.drop("t", force=True)
        pages.write(file)
    assert path.read_bytes() == b"before"


def test_save_takes_the_instance_that_the_table_tells_anyway(path: Path, instance: str) -> None:
    """Its own, or none; another is a mistake, which is found when the table has been, and writes nothing."""
    table = tm.create("t")
    assert tm.save(table, path, instance=instance) == tm.save(table, path) == 0
    path.unlink()
    with pytest.raises(ValueError, match=rf"table 't' belongs to instance '{instance}', not 'other'"):
        tm.save(table, path, instance="other")
    table.drop()
    with pytest.raises(tm.TableNotFoundError):
        tm.save(table, path, instance="other")
    assert not path.exists()


def test_only_regular_files_are_replaced(path: Path, tmp_path: Path) -> None:
    """A directory or a pipe is refused; a link stays one, and what it leads to is replaced."""
    table = make(n=10)
    with pytest.raises(OSError, match="regular"):
        tm.save(table, tmp_path)
    os.mkfifo(path)
    with pytest.raises(OSError, match="regular"):
        tm.save(table, path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tm.save(table, tmp_path / "none" / "t")
    target = tmp_path / "target"
    path.symlink_to(target)
    tm.save(table, path)
    assert path.is_symlink()
    assert len(tm.load(target, name="t2")) == 10
    target.unlink()
    path.unlink()


@pytest.mark.parametrize("has_tmpfile", [True, False])
def test_the_file_is_replaced_when_all_is_written(
    path: Path, has_tmpfile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the old one is there; an exception leaves it. Also on a file system without nameless files."""
    if not has_tmpfile:
        really = os.open

        def refusing(name: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not supported")
            return really(name, flags, *rest, **more)

        monkeypatch.setattr(os, "open", refusing)
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"before"
    with replacing(path, 0o640) as file:
        file.write(b"whole")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_saver_that_is_killed_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    """SIGKILL in the middle of the writing."""
    path.write_bytes(b"before")

    def half(pipe: Any) -> None:
        with replacing(path) as file:
            file.write(b"x" * 1_000_000)
            pipe.send(None)
            pipe.recv()

    with Child(half) as saver:
        saver.receive()
        saver.kill()
    assert path.read_bytes() == b"before"


def test_a_loader_that_is_killed_leaves_no_table(path: Path) -> None:
    """Until it is complete the table goes with its owner; nobody sees it under its name."""
    tm.save(make(n=5000), path)

    def half(pipe: Any) -> None:
        with open(path, "rb") as file:

            def say(done: int, expected: int) -> None:
                pipe.send((done, expected))
                pipe.recv()

            files.read_table(file_format.Source(file, "f"), name="half", progress=say)

    with Child(half) as loader:
        assert loader.receive()[1] == 5000
        with pytest.raises(tm.TableNotFoundError):
            tm.attach("half")
        [other] = [info for info in tm.tables() if info.name != "t"]
        assert (other.access, other.name.startswith(f"loading {loader.pid} ")) == ("private", True)
        loader.kill()
    assert [info.name for info in tm.tables()] == ["t"]


def test_the_name_can_be_taken_while_the_table_is_loaded(path: Path) -> None:
    """Then there is an error, and what has the name stays."""
    tm.save(make(n=10), path)
    with open(path, "rb") as file, pytest.raises(tm.TableExistsError, match="'n'"):
        files.read_table(file_format.Source(file, "f"), name="n", progress=lambda *_: tm.create("n").close())
    assert sorted(info.name for info in tm.tables()) == ["n", "t"]


def _make_without_heir() -> None:
    tm.create("n")


def test_the_name_of_a_table_that_went_with_its_owner_is_free(path: Path) -> None:
    """As for create; also where it goes while the rows are loaded."""
    tm.save(make(n=10), path)
    in_child(_make_without_heir)
    tm.load(path, name="n").drop()
    with open(path, "rb") as file:
        table, _ = files.read_table(
            file_format.Source(file, "f"), name="n", progress=lambda *_: in_child(_make_without_heir)
        )
    assert len(table) == 10


def test_a_table_is_saved_while_others_write(path: Path) -> None:
    """Each row is whole, and what is there throughout comes exactly once."""
    table = tm.create("t", access="public")
    table.insert([(n, "stays", n) for n in range(20_000)])

    def write(pipe: Any) -> None:
        mine = tm.attach("t")
        pipe.send(None)
        n = 0
        while not pipe.poll():
            mine.insert((("new", n % 5000), "x" * (n % 50), n))
            mine.delete(("new", (n * 7) % 5000))
            n += 1

    with Child(write) as writer:
        writer.receive()
        for name in ("a", "b", "c"):
            tm.save(table, path)
            loaded = tm.load(path, name=name)
            rows = {row[0]: row for row in loaded}
            assert all(rows.pop(n) == (n, "stays", n) for n in range(20_000))
            assert all(text == "x" * (n % 50) and n % 5000 == key[1] for key, text, n in rows.values())
        writer.send()
        writer.result()


# -- damage ------------------------------------------------------------------------------------------------------------


def saved(n: int = 50_000, kind: str = "set") -> bytes:
    """The bytes of a file with several pages."""
    table = make(n=n, type=kind)
    file = io.BytesIO()
    assert files.write_table(table, file) == n
    table.drop()
    return file.getvalue()


def load_bytes(data: bytes, *, partial: bool = False, **more: Any) -> tuple[tm.Table, str]:
    """The table in these bytes."""
    return files.read_table(file_format.Source(io.BytesIO(data), "f"), partial=partial, **more)


def page_ends(data: bytes) -> list[tuple[int, int]]:
    """(offset behind it, rows up to there) for each page of rows."""
    at = len(file_format.SIGNATURE) + 4
    ends, rows = [], 0
    while at < len(data):
        kind, n_bytes, n_rows, _ = struct.unpack_from(">4sQQI", data, at)
        at += 28 + n_bytes
        if kind == b"ROWS":
            rows += n_rows
            ends.append((at, rows))
    return ends


def test_a_file_cut_off_anywhere_is_refused_whole(path: Path) -> None:
    """It says so, how many rows are sound, and leaves no table; with partial those are taken, with a warning."""
    data = saved()
    ends = page_ends(data)
    assert len(ends) > 3
    cuts = {0, 1, 7, 8, 11, 12, 30, len(data) - 1, len(data) - 40}
    cuts |= {end + delta for end, _ in ends for delta in (-1, 0, 1, 27, 28, 1000) if end + delta < len(data)}
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        sound = max((rows for end, rows in ends if end <= cut), default=0)
        with pytest.raises(tm.CorruptTableError) as caught:
            tm.load(path)
        assert str(path) in str(caught.value)
        assert tm.tables() == []
        if cut < ends[0][0] - files.PAGE_BYTES:  # in the header
            with pytest.raises(ValueError, match="damaged|not a file"):
                tm.load(path, partial=True)
            continue
        assert f"{sound} rows" in str(caught.value)
        with pytest.warns(RuntimeWarning, match=f"{sound} rows"):
            table = tm.load(path, partial=True)
        assert len(table) == sound
        assert all(row == (row[0], f"row {row[0]}", row[2]) for row in table)
        table.drop()


def test_a_changed_bit_is_found_wherever_it_is() -> None:
    """In the signature, a head, a payload or the closing record; a page is never taken with a wrong bit."""
    data = saved(20_000)
    ends = page_ends(data)
    places = [0, 5, 9, 12, 16, 20, 30, 39, 45, 60, len(data) - 1, len(data) - 10, len(data) - 30]
    places += [end - 10 for end, _ in ends] + [end + at for end, _ in ends[:-1] for at in (0, 5, 12, 20, 25, 29, 5000)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 0x10
        with pytest.raises((tm.CorruptTableError, tm.TableMismatchError)):
            load_bytes(bytes(changed))
        assert tm.tables() == []
        sound = max((rows for end, rows in ends if end <= place), default=0)
        with contextlib.suppress(tm.CorruptTableError, tm.TableMismatchError):
            table, damage = load_bytes(bytes(changed), partial=True)
            assert (len(table), f"{sound} rows" in damage) == (sound, True)
            table.drop()


def test_of_a_small_file_most_is_read_where_its_end_is_damaged() -> None:
    """What is sound is told in pieces of some tens of KiB, not of the size of many a file."""
    data = saved(10_000)
    assert 100_000 < len(data) < 1 << 18
    table, damage = load_bytes(data[:-100], partial=True)
    assert len(table) >= 5_000
    assert f"{len(table)} rows" in damage
    table.drop()


def test_pages_that_are_missing_doubled_or_swapped_are_found() -> None:
    """Each has the right checksum, but the closing record knows which there were and in which order."""
    data = saved()
    ends = [end for end, _ in page_ends(data)]
    first, second, third = data[: ends[0]], data[ends[0] : ends[1]], data[ends[1] : ends[2]]
    rest = data[ends[2] :]
    assert load_bytes(first + second + third + rest)[1] == ""
    tm.drop("t")
    for wrong in (first + third + rest, first + second + second + third + rest, first + third + second + rest):
        with pytest.raises(tm.CorruptTableError, match="closing|again"):
            load_bytes(wrong)
        assert tm.tables() == []
    with pytest.raises(tm.CorruptTableError, match="behind"):
        load_bytes(data + b"x")
    assert tm.tables() == []


def test_a_length_is_believed_as_far_as_there_are_bytes() -> None:
    """A record that says it has exabytes costs no memory."""
    data = saved(10)
    for kind, n_bytes in ((b"ROWS", 2**62), (b"DONE", 2**40), (b"HEAD", 2**62)):
        head = struct.pack(">4sQQI", kind, n_bytes, 1, 0)
        record = head + struct.pack(">I", zlib.crc32(head))
        start = 12 if kind == b"HEAD" else page_ends(data)[0][0]
        with pytest.raises(tm.CorruptTableError, match="cut off|too long"):
            load_bytes(data[:start] + record + b"x" * 1000)
    assert tm.tables() == []


def _file(header: Any, *pages: tuple[int, bytes]) -> bytes:
    """A file with right checksums, whatever is in it."""
    file = io.BytesIO()
    file.write(file_format.SIGNATURE + struct.pack(">I", 1))
    crc = file_format._write_record(file, b"HEAD", 0, header, 0)
    for n_rows, page in pages:
        crc = file_format._write_record(file, b"ROWS", n_rows, page, crc)
    file_format._write_record(file, b"DONE", sum(n for n, _ in pages), struct.pack(">I", crc), crc)
    return file.getvalue()


def _header(**changes: Any) -> bytes:
    said = {"name": "t", "type": "set", "access": "public", "keypos": 0, "codec": "msgpack", "rows": 1, **changes}
    return _codec.encode(said)


def test_rows_that_no_table_could_hold_are_refused() -> None:
    """Right checksums say who wrote it, not that it is sound: every row is verified before it goes in."""
    assert list(load_bytes(_file(_header(), (1, b"\x91\x01")))[0]) == [(1,)]
    tm.drop("t")
    for pages, match in (
        ([(1, b"\x92\x01\xc1")], "msgpack"),
        ([(1, b"\x91")], "cut off"),
        ([(1, b"\x92\x01\xa2x")], "cut off"),
        ([(1, b"\x91\xcc\x01")], "found"),
        ([(1, b"\x92\x01\xd4\x0c\x00")], "pickled"),
        ([(2, b"\x91\x01")], "1 rows instead of 2"),
        ([(2, b"\x91\x01\x91\x01")], "again"),
        ([(1, b"\x91\x01"), (1, b"\x91\x01")], "again"),
        ([(1, b"\x90")], "key"),
    ):
        with pytest.raises(tm.CorruptTableError, match=match):
            load_bytes(_file(_header(), *pages))
        assert tm.tables() == []


def test_a_header_that_is_none_is_refused() -> None:
    """Other types, names that mean nothing, too little: an error, and no table."""
    for header in (
        b"",
        b"\xc1",
        b"\x01",
        b"\x80",
        _header(name=1),
        _header(keypos=-1),
        _header(keypos=True),
        _header(rows="1"),
    ):
        with pytest.raises(tm.CorruptTableError, match="header"):
            load_bytes(_file(header))
    for change in ({"type": "heap"}, {"access": "all"}, {"codec": "json"}):
        with pytest.raises(tm.TableMismatchError, match=next(iter(change.values()))):
            load_bytes(_file(_header(**change)))
    with pytest.raises(ValueError, match="keypos"):
        load_bytes(_file(_header(keypos=2**40)))
    assert tm.tables() == []


def test_what_is_no_such_file_is_refused(path: Path) -> None:
    """Another file, an empty one, one of a later version; partial or not. A missing one is a FileNotFoundError."""
    for content, match in (
        (b"", "cut off"),
        (b"PK\x03\x04" + bytes(100), "not a file that save"),
        (file_format.SIGNATURE + struct.pack(">I", 2) + bytes(100), "version 2"),
    ):
        path.write_bytes(content)
        for partial in (False, True):
            with pytest.raises(tm.CorruptTableError, match=match):
                tm.load(path, partial=partial)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tm.load(path)
    assert tm.tables() == []


def test_partial_does_nothing_to_a_sound_file(path: Path) -> None:
    """No warning, all rows."""
    tm.save(make(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(tm.load(path, name="n", partial=True)) == 1000


# -- pickles -----------------------------------------------------------------------------------------------------------


def test_pickles_are_loaded_where_both_asked_for_them(path: Path) -> None:
    """The creator by the table's codec, the loader by his own; nothing is unpickled before a row is read."""
    table = tm.create("t", codec="pickle")
    table.insert([(1, complex(1, 2)), (2, "plain")])
    tm.save(table, path)
    with pytest.raises(tm.TableMismatchError, match="codec='pickle'"):
        tm.load(path, name="n")
    loaded = tm.load(path, name="n", codec="pickle")
    assert loaded.codec == "pickle"
    assert loaded.lookup(1) == [(1, complex(1, 2))]
    plain = tm.create("plain")
    tm.save(plain, path)
    with pytest.raises(tm.TableMismatchError, match="msgpack"):
        tm.load(path, name="m", codec="pickle")
    assert {info.name for info in tm.tables()} == {"t", "n", "plain"}


def test_a_full_machine_leaves_no_table_and_no_file(path: Path) -> None:
    """A file that cannot be written is an OSError; the old one stays."""
    table = make()
    path.write_bytes(b"before")

    def save_with_limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(OSError, match="large"):
            tm.save(table, path)

    in_child(save_with_limit)
    assert path.read_bytes() == b"before"


def test_an_interrupt_as_the_table_is_made_leaves_none(path: Path) -> None:
    """It was there under a name of its own, and nobody had it yet."""
    table = make()
    tm.save(table, path)
    table.drop()
    with interrupted("tmgr_create"):
        tm.load(path)
    assert tm.tables() == []
