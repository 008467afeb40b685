# SPDX-License-Identifier: Apache-2.0
"""Names of segments, and what stands in /dev/shm beside sound tables."""

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

import tablemgr as tm
from tablemgr import segment_names

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=25)


@hypothesis.given(TEXT, TEXT)
def test_names_and_segment_names_are_one_to_one(instance: str, name: str) -> None:
    """Every name comes back exactly; no dot or slash of its own gets into the segment's name."""
    hypothesis.assume(len(instance.encode()) * 3 + len(name.encode()) * 3 < 200)
    segment = segment_names.segment_name(instance, name)
    assert segment_names.parse_segment_name(segment) == (instance, name)
    assert segment.count(".") == 2
    assert segment.count("/") == 1


@pytest.mark.parametrize(
    "segment",
    [
        "/other",
        "/tablemgr",
        "/tablemgr.a",
        "/tablemgr..b",
        "/tablemgr.a.b.c",
        "/tablemgr.a.%",
        "/tablemgr.a.%zz",
        "/tablemgr.a.%2f",
        "/tablemgr.a.%61",
        "/tablemgr.a.%FF",
        "/tablemgr.a.b c",
        "/tablemgr.a.%00",
    ],
)
def test_what_is_no_segment_name_of_ours_is_told(segment: str) -> None:
    """Including other spellings of names that have one."""
    assert segment_names.parse_segment_name(segment) is None


def test_the_instance_comes_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, TABLEMGR_INSTANCE, "default", in this order."""
    monkeypatch.setenv("TABLEMGR_INSTANCE", "env")
    assert segment_names.resolve_instance() == "env"
    assert segment_names.resolve_instance("arg") == "arg"
    monkeypatch.setenv("TABLEMGR_INSTANCE", "")
    assert segment_names.resolve_instance() == "default"
    monkeypatch.delenv("TABLEMGR_INSTANCE")
    assert segment_names.resolve_instance() == "default"


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 4096, os.urandom(100_000)], ids=["empty", "short", "zero", "random"]
)
def test_what_is_no_table_is_listed_refused_and_dropped_by_force(content: bytes, instance: str) -> None:
    """A file of our name that is no table is an entry of the list that says so, and an error for attach and create."""
    path = Path(f"/dev/shm/tablemgr.{instance}.t")
    path.write_bytes(content)
    [info] = tm.tables()
    assert info.name == "t"
    assert info.damaged
    assert info.owner is None
    calls: list[Callable[[], object]] = [lambda: tm.attach("t"), lambda: tm.drop("t"), lambda: tm.SharedDict("t")]
    for call in calls:
        with pytest.raises(tm.CorruptTableError, match="'t'"):
            call()
    with pytest.raises(tm.TableExistsError):
        tm.create("t")
    assert path.read_bytes() == content
    tm.drop("t", force=True)
    assert not path.exists()


def test_directories_and_links_under_our_name_are_refused(instance: str) -> None:
    """A symbolic link is not followed, a directory is not a table; neither breaks the list."""
    target = Path(f"/dev/shm/tablemgr.{instance}.target")
    tm.create("target")
    link = Path(f"/dev/shm/tablemgr.{instance}.link")
    folder = Path(f"/dev/shm/tablemgr.{instance}.folder")
    link.symlink_to(target)
    folder.mkdir()
    try:
        for name in ("link", "folder"):
            with pytest.raises((tm.TableError, OSError)):
                tm.attach(name)
        assert "target" in [info.name for info in tm.tables()]
    finally:
        folder.rmdir()
        link.unlink()


def test_files_of_others_are_not_ours(instance: str) -> None:
    """Names that only resemble ours are not in the list."""
    path = Path(f"/dev/shm/tablemgr.{instance}.%zz")
    path.write_bytes(b"")
    try:
        assert tm.tables() == []
    finally:
        path.unlink()
