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
NOBODY, SOMEBODY = 65534, 64321


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


def as_user(uid: int, function: Callable[[], Any]) -> Any:
    """Its result, called in a child of another user; skip where this user may not become one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def child() -> Any:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
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

    found = as_user(NOBODY, stranger)
    assert found["listed"] == [("600", 0, False), ("644", 1, True), ("666", 1, True)]
    for name, kinds in (("600", "AAAA"), ("644", "-AAA"), ("666", "---A")):
        for what, kind in zip(("", " write", " insist", " drop"), kinds, strict=True):
            text = found[name + what]
            assert text.startswith("AccessError") if kind == "A" else text == "none", (name, what, text)
    assert len(tm.tables()) == 3


def make_foreign(name: str, **options: Any) -> None:
    """A table of user nobody, with a row."""

    def make() -> None:
        tm.create(name, access="public", heir="manager", **options).insert(("k", 1))

    as_user(NOBODY, make)


def test_a_table_that_another_user_made_is_read_only_unless_trusted() -> None:
    """Whoever takes a name first in the common place is named, and cannot do more than be read."""
    make_foreign("t", mode=0o666)

    def victim() -> dict[str, Any]:
        attached = tm.attach("t")
        shared = tm.SharedDict[str, int]("t")
        return {
            "listed": [(info.uid, info.damaged) for info in tm.tables()],
            "read": (attached.lookup("k"), shared["k"]),
            "write": refusal(lambda: attached.insert(("k", 2))),
            "put": refusal(lambda: shared.update(k=3)),
            "create": refusal(lambda: tm.create("t")),
            "rename": refusal(lambda: attached.rename("u")),
            "drop": refusal(lambda: tm.drop("t")),
            "trusted": refusal(lambda: tm.attach("t", readonly=False).insert(("k", 4))),
        }

    found = as_user(SOMEBODY, victim)
    assert found["listed"] == [(NOBODY, None)]
    assert found["read"] == ([("k", 1)], 1)
    assert found["create"].startswith("TableExistsError")
    for what in ("write", "put", "create", "rename", "drop"):
        assert "uid 65534" in found[what], found[what]
    assert all(found[what].startswith("AccessError") for what in ("write", "put", "rename", "drop"))
    assert found["trusted"] == "none"
    assert as_user(NOBODY, lambda: tm.attach("t").lookup("k")) == [("k", 4)]


def test_pickles_of_another_user_are_not_unpickled() -> None:
    """They would run what that user wants, whatever the mode allows, and whoever reads them, root too."""
    make_foreign("t", mode=0o666, codec="pickle")
    for readonly in (None, True, False):
        error = refusal(lambda readonly=readonly: tm.attach("t", codec="pickle", readonly=readonly))  # type: ignore[misc]
        assert error.startswith("AccessError"), error
        assert "uid 65534" in error
    assert as_user(NOBODY, lambda: tm.attach("t", codec="pickle").lookup("k")) == [("k", 1)]


def test_root_is_kept_out_by_the_mode_too_but_may_force_a_drop() -> None:
    """A segment that a user made could harm a root that locks in it; its name is shown all the same."""
    make_foreign("t", mode=0o600)
    for call in (lambda: tm.attach("t"), lambda: tm.attach("t", readonly=False), lambda: tm.drop("t")):
        error = refusal(call)
        assert error.startswith("AccessError"), error
        assert "uid 65534" in error
    (info,) = tm.tables()
    assert (info.name, info.uid) == ("t", NOBODY)
    tm.drop("t", force=True)
    assert tm.tables() == []


def test_the_mode_is_not_subject_to_the_umask() -> None:
    """What was asked for is what the segment has."""

    def make() -> None:
        os.umask(0o077)
        tm.create("t", mode=0o666, heir="manager")

    in_child(make)
    assert tm.tables()[0].mode == 0o666
