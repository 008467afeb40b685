# SPDX-License-Identifier: Apache-2.0
"""Owner, heir and access without a manager: give_away, setopts, hand-over at a death."""

import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import _ffi, codec, segments
from tests.support.child import Child, in_child


def owner_pid(table: tm.Table) -> int:
    """The pid of the table's owner."""
    owner = table.info().owner
    assert owner is not None
    return owner.pid


def wait_and_obey(pipe: Connection) -> None:
    """A process that runs what it is told to, until it is told None."""
    while (verb := pipe.recv()) is not None:
        name, args, options = verb
        try:
            table = tm.attach(name)
            pipe.send(("ok", getattr(table, args[0])(*args[1:], **options)))
        except Exception as error:
            pipe.send((type(error).__name__, str(error)))


def ask(child: Child, name: str, *call: Any, **options: Any) -> tuple[str, Any]:
    """What the child gets for a call of a method of a table."""
    child.send((name, call, options))
    answer = child.receive()
    assert isinstance(answer, tuple)
    return answer


def test_access_says_who_may_read_and_write() -> None:
    """public: everybody; protected: everybody reads; private: the owner only, though anybody may attach."""
    for access, may_read, may_write in (("public", True, True), ("protected", True, False), ("private", False, False)):
        table = tm.create(access, access=access)
        table.insert(("k", 1))
        with Child(wait_and_obey) as other:
            kinds = {
                verb: ask(other, access, *call)[0]
                for verb, *call in [("read", "lookup", "k"), ("len", "__len__"), ("write", "insert", ("j", 1))]
            }
            assert kinds["read"] == kinds["len"] == ("ok" if may_read else "AccessError")
            assert kinds["write"] == ("ok" if may_write else "AccessError")
            assert ask(other, access, "info")[0] == "ok"
            assert ask(other, access, "drop")[0] == ("ok" if may_write else "AccessError")


def test_access_comes_before_what_is_wrong_with_the_arguments() -> None:
    """A process that may not write is told that first."""
    tm.create("t", access="protected")
    with Child(wait_and_obey) as other:
        assert ask(other, "t", "insert", "no row")[0] == "AccessError"
        assert ask(other, "t", "update_counter", [1], "nonsense")[0] == "AccessError"
        assert ask(other, "t", "setopts", access="nonsense")[0] == "NotOwnerError"
        assert ask(other, "t", "give_away", "nonsense")[0] == "NotOwnerError"
        assert ask(other, "t", "rename", "")[0] == "AccessError"
        kind, message = ask(other, "t", "insert", ("k",))
        assert kind == "AccessError"
        assert "protected" in message
        assert str(os.getpid()) in message


def test_a_protected_table_is_mapped_without_the_right_to_write() -> None:
    """The MMU keeps a process that may only read from writing."""
    table = tm.create("t", access="protected")

    def rights() -> set[str]:
        attached = tm.attach("t")
        attached.lookup("k")
        with open("/proc/self/maps") as maps:
            return {line.split()[1] for line in maps if attached.instance in line}

    with Child(lambda pipe: pipe.recv()) as idle:
        table.give_away(idle.pid)
        table.close()
        assert rights() == {"r--s"}


def test_give_away_makes_another_process_the_owner() -> None:
    """At once, with rows, heir and access as they are; the giver is a user like any other afterwards."""
    table = tm.create("t", heir="manager")
    table.insert(("k", 1))
    with Child(wait_and_obey) as other:
        table.give_away(other.process, data={"why": ["gift"]})
        assert owner_pid(table) == other.pid
        assert table.lookup("k") == [("k", 1)]
        with pytest.raises(tm.AccessError):
            table.insert(("k", 2))
        with pytest.raises(tm.NotOwnerError):
            table.give_away(os.getpid())
        assert ask(other, "t", "insert", ("k", 3))[0] == "ok"
        transfer = segments.transfer(table._handle.describe())
        assert transfer is not None
        assert (transfer.name, transfer.reason, transfer.data) == ("t", "gift", {"why": ["gift"]})
        assert transfer.from_.pid == os.getpid()
        assert ask(other, "t", "give_away", tm.Process(*_ffi.self_process(), alive=True))[0] == "ok"
    assert owner_pid(table) == os.getpid()
    table.insert(("k", 4))


def test_a_claimed_orphan_comes_from_its_dead_owner() -> None:
    """Also where a manager kept it: by a claim of the process itself, reason "claim"."""

    def owner(pipe: Connection) -> None:
        tm.create("t", heir="manager", heir_data="word")
        pipe.send("made")
        pipe.recv()

    def keeper(pipe: Connection) -> None:
        tm.attach("t")._handle.claim(_ffi.CLAIM_TO_KEEP)
        pipe.send("kept")
        pipe.recv()

    with Child(owner) as first:
        first.receive()
        first.kill()
    with Child(keeper) as manager:
        manager.receive()
        table = tm.attach("t")
        with pytest.raises(tm.TableOwnedError):
            table._handle.claim()
        manager.kill()
    table._handle.claim()
    transfer = segments.transfer(table._handle.describe())
    assert transfer is not None
    assert (transfer.from_.pid, transfer.reason, transfer.data) == (first.pid, "claim", "word")


def test_give_away_refuses_what_cannot_receive() -> None:
    """Oneself, the dead and the unknown; the owner stays."""
    table = tm.create("t")
    with pytest.raises(ValueError, match="'t'"):
        table.give_away(os.getpid())
    with Child(lambda pipe: pipe.recv()) as child:
        child.kill()
        with pytest.raises(LookupError):
            table.give_away(child.pid)
    nobody = tm.Process(os.getppid(), 1, alive=True)
    never = tm.Process(-1, -1, alive=True)
    for unknown in (2**22 + 1, 0, -1, 2**40, "somebody", nobody, never):
        with pytest.raises(LookupError):
            table.give_away(unknown)
    for wrong in (True, 1.5, None, table):
        with pytest.raises(TypeError):
            table.give_away(wrong)  # type: ignore[arg-type] # that is the test
    with Child(lambda pipe: pipe.recv()) as child:
        with pytest.raises(ValueError, match="896"):
            table.give_away(child.pid, data="x" * 1000)
        with pytest.raises(TypeError, match="object"):
            table.give_away(child.pid, data=object())
    assert owner_pid(table) == os.getpid()


def test_an_heirs_data_change_without_a_word_about_the_heir() -> None:
    """Also where that has died meanwhile: the manager is next in any case."""
    with tm.create("t") as table, Child(lambda pipe: pipe.recv()) as heir:
        table.setopts(heir=heir.pid, heir_data="old")
        table.setopts(heir_data="new")
        heir.kill()
        table.setopts(heir_data="newest")
        raw = table._handle.describe()
        assert (raw.heir_process[0], codec.decode_data(raw.heir_data, "msgpack")) == (heir.pid, "newest")
        table.setopts(heir=None)
        with pytest.raises(ValueError, match="heir_data without an heir"):
            table.setopts(heir_data="nobody's")
        table.setopts(heir_data=None)


def test_a_process_as_heir_gets_the_table_when_the_owner_dies() -> None:
    """Whoever looks first hands it over; the heir's data go with it, and the heir is the manager from then on."""

    def owner(pipe: Connection) -> None:
        tm.create("t", heir=os.getppid(), heir_data=("to", "you"), access="private").insert(("k", 1))
        pipe.send("made")
        pipe.recv()

    with Child(owner) as child:
        child.receive()
        info = tm.tables()[0]
        assert isinstance(info.heir, tm.Process)
        assert (info.heir.pid, info.heir.alive) == (os.getpid(), True)
        child.kill()
    table = tm.attach("t")
    assert owner_pid(table) == os.getpid()
    assert table.lookup("k") == [("k", 1)]
    assert table.info().heir == "manager"
    transfer = segments.transfer(table._handle.describe())
    assert transfer is not None
    assert (transfer.reason, transfer.data, transfer.from_.pid) == ("heir", ("to", "you"), child.pid)
    assert transfer.from_.alive is False


def _write_in_a_block(table: tm.Table) -> None:
    with table.atomic() as block:
        block.insert(("k", 2))


@pytest.mark.parametrize("access", ["protected", "private"])
@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.insert(("k", 2)),
        lambda table: table.delete("k"),
        lambda table: table.lookup("k"),
        lambda table: table.select(tm.Clause(tm.ANY)),
        _write_in_a_block,
        lambda table: table.setopts(heir=None),
        lambda table: table.rename("u"),
    ],
    ids=["insert", "delete", "lookup", "select", "block", "setopts", "rename"],
)
def test_the_first_call_after_a_death_is_the_heirs(access: str, call: Callable[[tm.Table], object]) -> None:
    """With a handle from before: nothing has to be asked twice, and the call finds the table inherited."""

    def owner(pipe: Connection) -> None:
        tm.create("t", heir=os.getppid(), access=access).insert(("k", 1))
        pipe.send(None)
        pipe.recv()

    with Child(owner) as child:
        child.receive()
        table = tm.attach("t")
        child.kill()
    call(table)
    with tm.attach(table.name) as found:
        assert owner_pid(found) == os.getpid()


def test_a_dead_heir_leaves_an_orphan() -> None:
    """The table stays, owned by a dead process, until somebody claims it."""

    def owner(pipe: Connection) -> None:
        tm.create("t", heir=pipe.recv()).insert(("k", 1))
        pipe.send("made")
        pipe.recv()

    with Child(owner) as child, Child(lambda pipe: pipe.recv()) as heir:
        child.send(heir.pid)
        child.receive()
        heir.kill()
        child.kill()
        info = tm.tables()[0]
        assert info.orphan
        table = tm.attach("t")
        assert table.lookup("k") == [("k", 1)]
        table._handle.claim()
        assert owner_pid(table) == os.getpid()
        table.insert(("k", 2))
        transfer = segments.transfer(table._handle.describe())
        assert transfer is not None
        assert transfer.reason == "claim"


def test_a_claim_is_refused_while_the_owner_lives() -> None:
    """TableOwnedError that says who."""

    def owner(pipe: Connection) -> None:
        tm.create("t", heir="manager")
        pipe.send("made")
        pipe.recv()

    with Child(owner) as child:
        child.receive()
        with pytest.raises(tm.TableOwnedError, match=str(child.pid)):
            tm.attach("t")._handle.claim()


def test_setopts_changes_heir_data_and_access() -> None:
    """Each alone or together; only the owner may."""
    table = tm.create("t", access="public", heir="manager", heir_data="first")
    table.setopts(access="private")
    assert (table.info().access, table.info().heir) == ("private", "manager")
    assert table._handle.describe().heir_data == _encoded("first")
    table.setopts(heir_data="second")
    assert (table.info().access, table.info().heir) == ("private", "manager")
    assert table._handle.describe().heir_data == _encoded("second")
    table.setopts(heir=None)
    assert table.info().heir is None
    assert table._handle.describe().heir_data == b""
    with Child(wait_and_obey) as other:
        table.setopts(heir=other.pid, heir_data=[1], access="public")
        heir = table.info().heir
        assert isinstance(heir, tm.Process)
        assert (heir.pid, table.info().access) == (other.pid, "public")
        assert ask(other, "t", "setopts", access="private")[0] == "NotOwnerError"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, TypeError),
        ({"access": "open"}, ValueError),
        ({"access": None}, TypeError),
        ({"access": 0}, TypeError),
        ({"heir": "somebody"}, LookupError),
        ({"heir": True}, TypeError),
        ({"heir": 1.5}, TypeError),
        ({"heir": 2**22 + 1}, LookupError),
        ({"heir": None, "heir_data": 1}, ValueError),
        ({"heir": "manager", "heir_data": "x" * 1000}, ValueError),
        ({"heir": "manager", "heir_data": ...}, TypeError),
    ],
    ids=repr,
)
def test_wrong_options_change_nothing(options: dict[str, Any], error: type[Exception]) -> None:
    """setopts is all or nothing."""
    table = tm.create("t", access="public", heir="manager")
    before = table.info()
    with pytest.raises(error):
        table.setopts(**options)
    assert table.info() == before


def test_exec_keeps_the_identity_and_fork_does_not() -> None:
    """(pid, start) is who a process is."""
    assert _ffi.self_process()[0] == os.getpid()
    assert _ffi.process_alive(*_ffi.self_process())
    assert _ffi.process_start(os.getpid()) == _ffi.self_process()[1]
    child = in_child(_ffi.self_process)
    assert child != _ffi.self_process()
    assert not _ffi.process_alive(*child)
    assert _ffi.process_start(child[0]) is None
    pid, start = _ffi.self_process()
    assert not _ffi.process_alive(pid, start - 1)


def test_the_dead_are_dead_before_they_are_waited_for() -> None:
    """A zombie's table is an orphan."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        made: Callable[[], tm.Table] = lambda: tm.create("t", heir="manager")  # noqa: E731 - kept alive by the name
        table = made()
        os.write(write, b"x" if table else b"")
        os._exit(0)
    try:
        assert os.read(read, 1) == b"x"
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert tm.tables()[0].orphan
    finally:
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def _encoded(value: Any) -> bytes:
    from tablemgr import codec

    return codec.encode_data(value, "msgpack")
