"""A client in many threads, in forked children, and through pickles."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr import Client
from tablemgr.default_client import default_client

from .support import TIMEOUT, Daemon, Worker, claim_error, eventually, in_line, open_table


def test_a_client_serves_many_threads(daemon: Daemon) -> None:
    """Each thread gets the table it asked for; waiting threads do not hold up the others."""
    client = Client()
    owner = Worker()
    owner.call(open_table, "wanted")
    with ThreadPoolExecutor(9) as pool:
        waiting = pool.submit(client.new_table, "wanted", wait=None)
        tables = list(pool.map(lambda n: client.new_table(f"t{n}"), range(40)))
        assert [table.name for table in tables] == [f"t{n}" for n in range(40)]
        assert not waiting.done()
        owner.kill()
        assert waiting.result(TIMEOUT).inherited


def test_a_forked_child_is_another_process_to_the_manager(daemon: Daemon) -> None:
    """With the client and the default client of its parent it is itself: what its parent owns it is refused."""
    client = Client()
    with client.new_table("parents"), tm.new_table("parents too"):
        parent, child = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=in_child, args=(client, child))
        process.start()
        child.close()
        assert parent.poll(TIMEOUT)
        assert parent.recv() == [f"process {os.getpid()}", f"process {os.getpid()}", True, process.pid]
        process.join()
        assert client.new_table("childs").inherited


def in_child(client: Client, answers: Connection) -> None:
    """In a forked child: use what was inherited."""
    heard: list[object] = []
    for name, ask in (("parents", client.new_table), ("parents too", tm.new_table)):
        try:
            ask(name)
        except tm.TableOwnedError as error:
            heard.append(str(error)[str(error).index("process") :].split(",")[0])
    table = client.new_table("childs")
    owner = table.info().owner
    heard += [owner is not None and owner.alive, owner.pid if owner else None]
    answers.send(heard)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_waits_leaves_the_child_usable(daemon: Daemon, instance: str) -> None:
    """Locks and connections of the parent's threads are no concern of the child's, and the wait goes on."""
    client = default_client()
    owner = Worker()
    owner.call(open_table, "t")
    taken: list[tm.Table] = []
    thread = threading.Thread(target=lambda: taken.append(client.new_table("t", wait=None)))
    thread.start()
    eventually(lambda: in_line(instance))
    worker = Worker("fork")
    assert worker.call(open_with_default_client, "u") is False
    owner.kill()
    thread.join(TIMEOUT)
    assert taken[0].inherited


def open_with_default_client(state: dict[str, tm.Table], name: str) -> bool:
    """In a worker: through the client that its parent used."""
    state[name] = tm.new_table(name)
    return state[name].inherited


def test_a_table_pickles_as_its_name(daemon: Daemon) -> None:
    """Sent to another process, a table from new_table is attached there; the owner stays the owner."""
    with tm.new_table("t", access="public") as table:
        worker = Worker("spawn")
        worker.call(insert_through, table)
        assert table.lookup("from") == [("from", worker.pid)]
        assert "TableOwnedError" in worker.call(claim_error, "t")


def insert_through(state: dict[str, object], table: tm.Table) -> None:
    """In a worker: write through a table that was sent."""
    table.insert(("from", os.getpid()))


def test_arguments_are_looked_at_before_anything_happens(daemon: Daemon) -> None:
    """What create would refuse, new_table refuses; nobody loses a table by it."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.kill()
    with tm.attach("t") as table:
        eventually(lambda: table.info().owner.pid == daemon.pid)  # type: ignore[union-attr]  # it has one
        for options in ({"type": "heap"}, {"access": "open"}, {"heir": 1.5}, {"max_bytes": 0}, {"lock_timeout": -1}):
            with pytest.raises((TypeError, ValueError)):
                tm.new_table("t", **options)
        dead = Worker()
        dead.kill()
        for nobody in (dead.pid, "me"):
            with pytest.raises(LookupError):
                tm.new_table("t", heir=nobody)
        assert table.info().owner.pid == daemon.pid  # type: ignore[union-attr]  # it has one


def test_a_client_reaches_its_instance_without_a_manager(instance: str, tmp_path: Path) -> None:
    """Create, attach, list, drop, save, load: in its own instance, and not in the process's default one."""
    client = Client(f"{instance}-other")
    made = client.create("t", type="bag", access="public", heir="manager")
    made.insert([(1, 2), (1, 3)])
    with client.attach("t", readonly=True) as attached:
        assert (attached.instance, attached.lookup(1)) == (client.instance, [(1, 2), (1, 3)])
    assert client.tables() == tm.tables(client.instance)
    assert [info.name for info in client.tables()] == ["t"]
    assert client.save(made, tmp_path / "f") == 2
    client.drop("t")
    with pytest.raises(tm.TableNotFoundError):
        client.drop("t")
    with client.load(tmp_path / "f", name="u", access="private") as loaded:
        assert (loaded.instance, loaded.info().access, len(loaded)) == (client.instance, "private", 2)
        loaded.drop()
    assert tm.tables() == client.tables() == []
    with tm.create("here") as here, pytest.raises(ValueError, match="belongs to instance"):
        client.save(here, tmp_path / "f")


def test_a_damaged_file_is_warned_of_where_the_client_is_asked(instance: str, tmp_path: Path) -> None:
    """The warning points at the caller's line, as that of the function does."""
    with tm.create("t") as table:
        table.insert((1, 2))
        tm.save(table, tmp_path / "f")
    content = (tmp_path / "f").read_bytes()
    (tmp_path / "f").write_bytes(content[:-1])
    for load in (tm.load, Client().load):
        with pytest.warns(RuntimeWarning, match="were taken") as warned:
            load(tmp_path / "f", name="u", partial=True).drop()
        assert warned[0].filename == __file__


def test_an_idle_connection_is_used_again(daemon: Daemon) -> None:
    """One call after the other does not pile up connections."""
    client = Client()
    for n in range(20):
        client.new_table(f"t{n}").drop()
    assert len(client._manager._idle) == 1
    client.close()
    client.new_table("t").drop()


AT_EXIT = """
import atexit, os, stat

def open_sockets():
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.append(descriptor)
        except OSError:
            pass  # it was of listdir
    return found

before = open_sockets()
atexit.register(lambda: print(len(set(open_sockets()) - set(before))))  # registered first, so called last
import tablemgr as tm

clients = [tm.Client() for _ in range(3)]
for client in clients:
    client.info()
tm.new_table("t")
list(tm.events(0))
with tm.Manager("another"):
    tm.new_table("u", instance="another").drop()
    list(tm.events(0, instance="another"))
"""


def test_nothing_is_open_at_the_interpreters_end(daemon: Daemon) -> None:
    """Whoever develops with warnings as errors is not told of what the package forgot to close."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", AT_EXIT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    assert (done.stdout, done.stderr) == ("0\n", "")
