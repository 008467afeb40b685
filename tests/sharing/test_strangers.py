# SPDX-License-Identifier: Apache-2.0
"""Processes of other users and of other pid namespaces."""

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm
from tests.support.child import in_child

CLONE_NEWPID, CLONE_NEWUSER = 0x20000000, 0x10000000
NOBODY = 65534


def in_other_namespace(function: Callable[[], Any]) -> Any:
    """Its result, called in a child that is pid 1 of a pid namespace; skip where the system lets nobody have one."""

    def child() -> Any:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWPID) != 0 and libc.unshare(CLONE_NEWPID | CLONE_NEWUSER) != 0:
            return None
        return in_child(lambda: (os.getpid(), function()))

    found = in_child(child, parental=True)
    if found is None:
        pytest.skip("no pid namespaces here")
    assert found[0] == 1
    return found[1]


def refusal(call: Callable[[], Any]) -> str:
    """The class and message of what a call raises, or "none"."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def as_nobody(function: Callable[[], Any]) -> Any:
    """Its result, called in a child of another user; skip where this user may not become one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def child() -> Any:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return function()

    return in_child(child)


def test_another_pid_namespace_may_read_and_not_write() -> None:
    """Whether an owner or a lock's holder is alive cannot be known there, so every change is an AccessError."""
    table = tm.create("t", access="public")
    table.insert([(n, n) for n in range(1000)])

    def stranger() -> tuple[Any, ...]:
        attached = tm.attach("t")
        writes = [
            refusal(call)
            for call in (
                lambda: attached.insert((0, 1)),
                lambda: attached.delete(0),
                lambda: attached.update_counter(0, 1),
                attached.delete_all,
                attached.drop,
                lambda: attached.rename("x"),
                lambda: tm.drop("t"),
            )
        ]
        owned = [refusal(lambda: attached.setopts(access="private")), refusal(lambda: attached.give_away(1))]
        return attached.lookup(5), len(attached), len(list(attached)), attached.check(), len(tm.tables()), writes, owned

    rows, length, seen, problems, listed, writes, owned = in_other_namespace(stranger)
    assert (rows, length, seen, problems, listed) == ([(5, 5)], 1000, 1000, [], 1)
    assert all(text.startswith("AccessError") and "namespace" in text for text in writes), "\n".join(writes)
    assert all(text.startswith(("AccessError", "NotOwnerError")) for text in owned), owned
    assert table.lookup(0) == [(0, 0)]
    assert table.name == "t"


def test_a_table_without_an_heir_is_not_taken_for_gone_from_another_namespace() -> None:
    """There its owner's pid is nobody's, which says nothing."""
    table = tm.create("t", access="public")
    table.insert(("k", 1))

    def stranger() -> Any:
        return [info.name for info in tm.tables()], tm.attach("t").lookup("k"), refusal(lambda: tm.create("t"))

    names, rows, error = in_other_namespace(stranger)
    assert names == ["t"]
    assert rows == [("k", 1)]
    assert error.startswith("TableExistsError")
    assert table.lookup("k") == [("k", 1)]


def test_another_user_is_kept_out_by_the_mode() -> None:
    """0o600: nothing but the entry in the list; 0o644: reading, whatever the table's access; 0o666: writing."""
    for mode in (0o600, 0o644, 0o666):
        table = tm.create(f"{mode:o}", access="public", mode=mode, heir="manager")
        table.insert(("k", 1))

    def stranger() -> dict[str, Any]:
        found: dict[str, Any] = {"listed": [(info.name, info.rows, info.damaged is None) for info in tm.tables()]}
        for name in ("600", "644", "666"):
            found[name] = refusal(lambda name=name: tm.attach(name).lookup("k"))  # type: ignore[misc] # mypy cannot infer
            found[name + " write"] = refusal(lambda name=name: tm.attach(name).insert(("k", 2)))  # type: ignore[misc]
            found[name + " insist"] = refusal(lambda name=name: tm.attach(name, readonly=False))  # type: ignore[misc]
            found[name + " drop"] = refusal(lambda name=name: tm.drop(name, force=True))  # type: ignore[misc]
        return found

    found = as_nobody(stranger)
    assert found["listed"] == [("600", 0, False), ("644", 1, True), ("666", 1, True)]
    for name, kinds in (("600", "AAAA"), ("644", "-AAA"), ("666", "---A")):
        for what, kind in zip(("", " write", " insist", " drop"), kinds, strict=True):
            text = found[name + what]
            assert text.startswith("AccessError") if kind == "A" else text == "none", (name, what, text)
    assert len(tm.tables()) == 3


def test_the_mode_is_not_subject_to_the_umask() -> None:
    """What was asked for is what the segment has."""

    def make() -> None:
        os.umask(0o077)
        tm.create("t", mode=0o666, heir="manager")

    in_child(make)
    assert tm.tables()[0].mode == 0o666
