# SPDX-License-Identifier: Apache-2.0
"""Rows as they are packed: what goes into a table without being decoded can be decoded, and found by its key."""

from __future__ import annotations

import decimal
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import tablemgr as tm
from tablemgr import _codec
from tests.unit.test_codec import key_atoms, nested, same, values

keys = st.recursive(key_atoms, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
rows = st.builds(lambda key, rest: (key, *rest), keys, st.lists(values, max_size=3))


@pytest.fixture
def table() -> Iterator[tm.Table]:
    """A table whose rows have their keys first."""
    with tm.create("t") as made:
        yield made


def accepts(table: tm.Table, row: bytes) -> bool:
    """Whether the row goes in; what goes in decodes and is found, and what does not changes nothing."""
    table.delete_all()
    try:
        table._binding.insert_packed(row)
    except ValueError:
        assert len(table) == 0
        return False
    rows = {_codec.encode(row[table.keypos]): row for row in map(_codec.decode_row, _split(row))}
    assert len(table) == len(rows)
    assert all(same(table.lookup(row[table.keypos]), [row]) for row in rows.values())
    return True


@given(st.lists(rows, max_size=5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_row_goes_in_and_comes_out_packed(some: list[tuple[Any, ...]]) -> None:
    """What encode_row makes is taken, and pages give it back byte for byte."""
    with tm.create("t") as table:
        packed = {_codec.encode_key(row[0]): _codec.encode_row(row, 0) for row in some}
        try:
            assert table._binding.insert_packed(b"".join(packed.values())) == len(packed)
            pages = list(table._binding.pages(1))
            assert sum(n for n, _ in pages) == len(table) == len(packed)
            assert sorted(_split(b"".join(page for _, page in pages))) == sorted(packed.values())
        finally:
            table.drop()


def _split(data: bytes) -> list[bytes]:
    """The rows that lie one after the other."""
    found = []
    while data:
        end = next(end for end in range(1, len(data) + 1) if _is_row(data[:end]))
        found.append(data[:end])
        data = data[end:]
    return found


def _is_row(data: bytes) -> bool:
    try:
        _codec.decode_row(data)
    except ValueError:
        return False
    return True


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_damaged_rows_go_in_exactly_if_they_decode_and_have_a_proper_key(row: Any, rng: random.Random) -> None:
    """Verifying says the same as decoding, and as encoding the key again."""
    original = _codec.encode_row(row, 0)
    table = tm.create("t")
    try:
        assert accepts(table, original)
        for _ in range(20):
            data = bytearray(original)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), 0xC0 + rng.randrange(32), 0xFF, 0])
            assert accepts(table, bytes(data)) == _is_proper(bytes(data))
    finally:
        table.drop()


def _is_proper(data: bytes) -> bool:
    try:
        return all(map(_has_proper_key, _split(data)))
    except (StopIteration, ValueError, TypeError):
        return False


def _has_proper_key(data: bytes) -> bool:
    row = _codec.decode_row(data)
    header = 1 if 0x90 <= data[0] < 0xA0 else 3 if data[0] == 0xDC else 5
    return len(row) > 0 and data[header:].startswith(_codec.encode_key(row[0]))


@pytest.mark.parametrize(
    "key",
    [
        "cc05",  # ints that have a shorter form
        "cd00ff",
        "ce0000ffff",
        "cf00000000ffffffff",
        "d07f",
        "d0ff",
        "d1ff80",
        "d90161",  # a str, bytes that have a shorter form
        "da000161",
        "c5000161",
        "ca3f800000",  # a float of 32 bits
        "cbfff8000000000000",  # a NaN of another form
        "d5020001",  # a big int that is a small one
        "d50191dc0001",
        "c7010161",
        "c70306316530",  # a Decimal that is written as str() does not
        "90",  # what can be no key
        "80",
        "d40390",
        "d40490",
        "d40561",
        "d40c61",
    ],
)
def test_a_key_in_another_form_is_refused(table: tm.Table, key: str) -> None:
    """It would be in the table and not be found; as a value it is harmless."""
    assert not accepts(table, b"\x91" + bytes.fromhex(key))


@pytest.mark.parametrize("value", ["cc05", "ca3f800000", "cf0000000000000001", "dc0001c0", "d9016" + "1"])
def test_a_value_may_have_any_form_that_decodes(table: tm.Table, value: str) -> None:
    """As other programs may write it."""
    assert accepts(table, b"\x92\x01" + bytes.fromhex(value))


def test_a_row_without_its_key_is_refused() -> None:
    """An empty one, or one that ends before the position of the key."""
    with tm.create("t", keypos=2) as table:
        for row in (b"\x90", b"\x92\x01\x02", b"\xdc\x00\x02\x01\x02"):
            assert not accepts(table, row)
        assert accepts(table, b"\x93\x01\x02\x03")


def test_rows_are_verified_before_the_first_goes_in(table: tm.Table) -> None:
    """One unsound row, and none of those before it is in the table."""
    sound = _codec.encode_row((1, "one"), 0)
    with pytest.raises(ValueError, match="cut off"):
        table._binding.insert_packed(sound + b"\x92\x02")
    assert len(table) == 0
    assert table._binding.insert_packed(sound + sound) == 2
    assert table._binding.insert_packed(b"") == 0
    assert list(table) == [(1, "one")]


def test_nesting_is_bounded(table: tm.Table) -> None:
    """100 deep is taken, 101 is not, whatever it is made of."""
    deepest = _codec.encode_row((1, nested(100, lambda inner: [inner])), 0)
    assert accepts(table, deepest)
    for one, end in ((b"\x91", b"\xc0"), (b"\x81\x01", b"\xc0"), (b"\xdd\0\0\0\1", b"\xc0")):
        assert not accepts(table, b"\x92\x01" + one * 101 + end)
        assert not accepts(table, b"\x92\x01" + one * 100_000 + end)


def test_what_cannot_be_hashed_is_in_no_set_and_no_key() -> None:
    """A signalling NaN is a value; in a set it could not be decoded."""
    table = tm.create("t")
    snan = _codec.encode(decimal.Decimal("sNaN"))
    assert accepts(table, b"\x92\x01" + snan)
    in_set = b"\x91" + snan
    assert not accepts(table, b"\x92\x01" + bytes([0xC7, len(in_set), 3]) + in_set)


def test_pickled_values_are_taken_unopened_and_only_where_they_are_allowed(table: tm.Table) -> None:
    """Bytes that would not even unpickle are nothing to the table; a table without pickles refuses them."""
    row = b"\x92\x01\xd4\x0c\x00"
    with pytest.raises(ValueError, match="pickled"):
        table._binding.insert_packed(row)
    pickles = tm.create("p", codec="pickle")
    assert pickles._binding.insert_packed(row) == 1
    assert len(pickles) == 1
    with pytest.raises(ValueError, match="key"):
        pickles._binding.insert_packed(b"\x91\xd4\x0c\x00")
    pickles.drop()


def test_access_comes_before_the_content(table: tm.Table) -> None:
    """A closed handle is told that, whatever the bytes are."""
    table.close()
    for call in (lambda: table._binding.insert_packed(b"\xc1"), lambda: table._binding.pages(1)):
        with pytest.raises(tm.TableClosedError):
            call()
    for wrong in ("text", 1, None):
        with pytest.raises(TypeError):
            table._binding.insert_packed(wrong)  # type: ignore[arg-type] # that is the test
