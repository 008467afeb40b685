"""Several users and namespaces: modes and groups count, a manager serves its user, a pid means nothing elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

import tablemgr as tm
import tablemgr.manager.server  # now, for another user may not get at Python's files
from tests.sharing.test_strangers import NOBODY, SOMEBODY, as_user, in_other_namespace, refusal
from tests.support.child import Child, in_child

from .support import Daemon, Worker, eventually, make_kept, on_table, open_table, owner_pid

GROUP = 64400


def as_member(uid: int, groups: list[int], function: Callable[[], Any]) -> Any:
    """Its result, called in a child of a user who is in these groups besides its own."""
    as_user(uid, lambda: None)  # skips where that cannot be

    def child() -> Any:
        os.setgroups(groups)
        os.setgid(uid)
        os.setuid(uid)
        return function()

    return in_child(child)


def path_of(name: str) -> str:
    """A table's file."""
    return f"/dev/shm/tablemgr.{tm.Client().instance}.{name}"


@pytest.mark.parametrize(("mode", "kinds"), [(0o660, "RW"), (0o640, "R-"), (0o600, "--"), (0o664, "RW")])
def test_the_group_of_a_segment_counts(instance: str, mode: int, kinds: str) -> None:
    """Its members may what the mode lets them, at a table of root's without more ado; others only by the last bits."""
    table = tm.create("t", access="public", mode=mode)
    table.insert(("k", 1))
    as_user(NOBODY, lambda: None)
    os.chown(path_of("t"), -1, GROUP)

    def use() -> list[str]:
        def attached() -> tm.Table:
            return tm.attach("t")

        return [refusal(lambda: attached().lookup("k")), refusal(lambda: attached().insert(("k", 2)))]

    read, wrote = as_member(SOMEBODY, [GROUP], use)
    assert read == "none" if "R" in kinds else read.startswith("AccessError")
    assert wrote == "none" if "W" in kinds else wrote.startswith("AccessError")
    assert table.lookup("k") == [("k", 2 if "W" in kinds else 1)]
    read, wrote = as_member(NOBODY, [], use)
    assert read == "none" if mode & 0o004 else "Permission denied" in read
    assert wrote.startswith("AccessError")
    assert table.info().mode == mode


def test_a_member_of_the_group_may_own_the_table(instance: str) -> None:
    """Ownership is a process's, whoever's that is; the file stays whose it is."""
    owner = Worker()
    owner.call(open_group_table, "t")

    def claim() -> tuple[Any, ...]:
        with tm.attach("t") as table:
            table._handle.claim()
            table.insert(("by", "member"))
            return owner_pid(table) == os.getpid(), table.info().uid

    assert as_member(SOMEBODY, [GROUP], lambda: refusal(claim)).startswith("TableOwnedError")
    owner.kill()
    assert as_member(SOMEBODY, [GROUP], claim) == (True, 0)
    assert as_member(NOBODY, [], lambda: refusal(claim)).startswith("AccessError")


def open_group_table(state: dict[str, Any], name: str) -> None:
    """In a worker: a table for a group."""
    state[name] = tm.create(name, heir="manager", mode=0o660)
    as_root = os.geteuid() == 0
    os.chown(path_of(name), -1, GROUP if as_root else -1)


def make_theirs() -> None:
    """Orphans of another user."""

    def make() -> None:
        for name, mode in (("closed", 0o600), ("open", 0o666)):
            tm.create(name, access="public", heir="manager", mode=mode).insert((1, 2))

    as_user(NOBODY, make)


@pytest.mark.parametrize("name", ["closed", "open"])
def test_a_manager_leaves_other_users_tables_alone(daemon: Daemon, name: str) -> None:
    """It inherits none, and whoever asks it for one is told whose it is."""
    make_theirs()
    make_kept(daemon, "mine")  # a round has passed since
    calls: list[Callable[[], object]] = [
        lambda: tm.new_table(name),
        lambda: tm.new_table(name, wait=0.1),
        lambda: tm.claim_table(name, tm.create),
        lambda: tm.del_table(name),
        lambda: tm.add_table(tm.attach(name)),
    ]
    for call in calls:
        text = refusal(call)
        assert text.startswith(("AccessError", "NotOwnerError")), text
        assert "uid 65534" in text
        assert "takes the table over" not in text
    (info,) = [info for info in tm.tables() if info.name == name]
    assert info.uid == NOBODY
    assert not info.kept
    tm.drop(name, force=True)
    assert not tm.new_table(name).inherited


@pytest.mark.parametrize("by_claim", [False, True], ids=["new_table", "claim_table"])
def test_an_orphan_of_roots_is_for_whom_its_mode_admits(instance: str, by_claim: bool) -> None:
    """It is not the business of a manager of theirs, who gets it all the same, with its rows."""
    owner = Worker()
    for name, mode in (("open", 0o666), ("closed", 0o644)):
        owner.call(create, name, access="public", heir="manager", mode=mode)
        owner.call(on_table, name, "insert", (1, 2))
    owner.kill()

    def use(mine: str) -> tuple[Any, ...]:
        os.environ["XDG_RUNTIME_DIR"] = mine

        def get(name: str) -> tm.Table:
            return tm.claim_table(name, tm.create) if by_claim else tm.new_table(name, access="public")

        with tm.Manager():
            table = get("open")
            return table.inherited, list(table), owner_pid(table) == os.getpid(), refusal(lambda: get("closed"))

    with tempfile.TemporaryDirectory() as mine:
        os.chmod(mine, 0o700)
        as_user(NOBODY, lambda: None)
        os.chown(mine, SOMEBODY, SOMEBODY)
        inherited, rows, is_mine, closed = as_user(SOMEBODY, lambda: use(mine))
    assert (inherited, rows, is_mine) == (True, [(1, 2)], True)
    assert closed.startswith("AccessError")
    assert "uid 0" in closed


def create(state: dict[str, Any], name: str, **options: Any) -> None:
    """In a worker: a table made without a manager."""
    state[name] = tm.create(name, **options)


def test_each_user_has_a_manager_of_its_own(daemon: Daemon) -> None:
    """One instance name, two users: each manager inherits its own user's tables and hands them back."""
    make_kept(daemon, "mine")
    as_user(NOBODY, lambda: None)

    def use(theirs: str) -> tuple[Any, ...]:
        os.environ["XDG_RUNTIME_DIR"] = theirs
        with tm.Manager():
            if (child := os.fork()) == 0:
                tm.new_table("theirs").insert((1, 2))
                os._exit(0)
            os.waitpid(child, 0)
            table = tm.new_table("theirs")
            return table.inherited, list(table), refusal(lambda: tm.new_table("mine"))

    with tempfile.TemporaryDirectory() as theirs:  # one whose parents let everybody through
        os.chown(theirs, NOBODY, NOBODY)
        inherited, rows, error = as_user(NOBODY, lambda: use(theirs))
    assert (inherited, rows) == (True, [(1, 2)])
    assert error.startswith("AccessError")
    assert tm.new_table("mine").inherited


def test_no_other_user_reaches_a_manager(daemon: Daemon) -> None:
    """For them there is none, though they look in the same place."""
    text = as_user(SOMEBODY, lambda: refusal(lambda: tm.Client().new_table("t")))
    assert text.startswith("ManagerUnavailableError"), text


# -- pid namespaces ----------------------------------------------------------------------------------------------------


def test_a_manager_refuses_a_process_of_another_pid_namespace(daemon: Daemon, instance: str) -> None:
    """It could not tell when that ends. The tables can be listed and read there all the same, and nobody loses one."""
    table = tm.new_table("t")
    table.insert((1, 2))

    def ask() -> list[Any]:
        tm.Client(instance)
        return [
            refusal(lambda: tm.new_table("t")),
            refusal(lambda: tm.new_table("new")),
            [(info.name, info.orphan) for info in tm.tables()],
            tm.attach("t").lookup(1),
        ]

    owned, new, listed, rows = in_other_namespace(ask)
    for text in (owned, new):
        assert text.startswith(("ManagerUnavailableError", "AccessError")), text
        assert "namespace" in text
    assert (listed, rows) == ([("t", False)], [(1, 2)])
    assert owner_pid(table) == os.getpid()
    assert [info.name for info in tm.tables()] == ["t"]


def test_the_same_pid_elsewhere_is_not_the_owner(instance: str) -> None:
    """Process 1 of one namespace is nobody in another, whose process 1 is refused like any stranger."""

    def own(pipe: Any) -> None:
        def make() -> None:
            table = tm.create("t", heir="manager")
            table.insert((1, 2))
            pipe.send((os.getpid(), owner_pid(table)))
            pipe.recv()

        in_other_namespace(make)

    def stranger() -> tuple[Any, ...]:
        table = tm.attach("t")
        calls: list[Callable[[], object]] = [
            lambda: table.insert((1, 3)),
            lambda: table.setopts(access="public"),
            lambda: table.give_away(os.getpid()),
            lambda: table._handle.claim(),
            table.drop,
        ]
        return os.getpid(), owner_pid(table), table.lookup(1), table.info().orphan, [refusal(call) for call in calls]

    with Child(own, parental=True) as owner:
        first = owner.receive()
        found = in_other_namespace(stranger)
        owner.send()
    assert first == (1, 1)
    assert found[:4] == (1, 1, [(1, 2)], False)
    for text in found[4]:
        assert text.startswith(("AccessError", "NotOwnerError")), text
    tm.drop("t", force=True)


def test_a_manager_does_not_take_a_table_of_another_namespace_for_an_orphan(daemon: Daemon) -> None:
    """The pid of its owner may be nobody's here, or somebody else's: it is left as it is, with an heir or without."""

    def make() -> None:
        for name, heir in (("kept", "manager"), ("went", None)):
            tm.create(name, heir=heir, access="public").insert((1, 2))

    in_other_namespace(make)  # their owner is dead by now, and process 1 here is alive
    make_kept(daemon, "mine")  # a round has passed
    infos = {info.name: info for info in tm.tables()}
    assert infos.keys() == {"kept", "went", "mine"}
    for name in ("kept", "went"):
        owner = infos[name].owner
        assert owner is not None
        assert (owner.pid, infos[name].orphan, infos[name].kept) == (1, False, False)
        assert tm.attach(name).lookup(1) == [(1, 2)]
        text = refusal(lambda name=name: tm.new_table(name))  # type: ignore[misc]  # mypy cannot infer
        assert text.startswith("AccessError"), text
        assert "namespace" in text
        tm.drop(name, force=True)
    worker = Worker()
    eventually(lambda: worker.call(open_table, "kept") == (False, None))
