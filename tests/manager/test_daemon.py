"""The manager as a process: one per instance, started on demand, leaving nothing behind."""

import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tablemgr as tm
from tablemgr import Client, rendezvous
from tablemgr.manager import sole

from .support import TIMEOUT, Daemon, Worker, claim_error, eventually, make_kept, on_table, open_table, owner_pid, rows


def run_another(instance: str) -> subprocess.CompletedProcess[str]:
    """Try to run a second manager in the foreground."""
    command = [sys.executable, "-m", "tablemgr.manager", f"--instance={instance}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def test_an_instance_has_one_manager(daemon: Daemon, instance: str) -> None:
    """The second is told who the first is, as a process and embedded."""
    second = run_another(instance)
    assert second.returncode == 1
    assert f"process {daemon.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    with pytest.raises(tm.ManagerRunningError, match=f"process {daemon.pid}"), tm.Manager(instance):
        pass
    assert Client().info().manager is not None


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another $XDG_RUNTIME_DIR, once the test sets it."""
    path = tmp_path / "elsewhere"
    path.mkdir(0o700)
    return path


def test_an_instance_has_one_manager_wherever_the_sockets_are(
    daemon: Daemon, instance: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one with another directory would serve the same tables: it is told who the first is."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    for _ in range(2):
        second = run_another(instance)
        assert second.returncode == 1
        assert f"process {daemon.pid}" in second.stderr
        assert "XDG_RUNTIME_DIR" in second.stderr
    with pytest.raises(tm.ManagerRunningError, match=f"process {daemon.pid}"), tm.Manager(instance):
        pass
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    with pytest.raises(tm.ManagerUnavailableError, match=rf"process {daemon.pid}.*XDG_RUNTIME_DIR"):
        tm.new_table("t")
    daemon.kill()
    tm.new_table("t").drop()


def test_another_user_who_takes_its_address_keeps_no_manager_from_serving(
    daemon: Daemon, instance: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can take an abstract address, which here is what the other manager has."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    monkeypatch.setattr("tablemgr.manager.sole.peer_credentials", lambda connection: (1, os.geteuid() + 1))
    with tm.Manager(instance):
        assert "has taken the address" in caplog.text
        tm.new_table("t").drop()


def test_a_stopped_manager_is_the_only_one_however_often_that_is_asked(
    daemon: Daemon, instance: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each manager that is started elsewhere asks who has the address, and one that is stopped lets nobody in."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    daemon.process.send_signal(signal.SIGSTOP)
    address = sole.address_of(instance)
    with pytest.raises(BlockingIOError):
        while True:
            with socket.socket(socket.AF_UNIX) as asker:
                asker.setblocking(False)
                asker.connect(address)
    with pytest.raises(tm.ManagerRunningError, match="XDG_RUNTIME_DIR"), tm.Manager(instance):
        pass


@pytest.mark.parametrize("comes_back", [True, False], ids=["logged in again", "logged out"])
def test_a_manager_whose_directory_was_taken_away_makes_room(
    daemon: Daemon, instance: str, runtime: Path, comes_back: bool
) -> None:
    """As at the end of a login session: nobody finds it any more, so it ends, and its tables are its successor's."""
    make_kept(daemon, "t")
    shutil.rmtree(runtime / "tablemgr")
    if comes_back:
        (runtime / "tablemgr").mkdir(0o700)
    assert daemon.process.wait(TIMEOUT) == 0
    with tm.Manager(instance):
        assert tm.new_table("t").inherited


def test_a_manager_takes_the_address_of_one_that_ends_while_it_asks(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the question it has gone; the address is held all the same, for the next who looks."""
    monkeypatch.setattr(sole, "_DYING_SECONDS", 0.0)
    before, ask = sole.Sole(instance), sole._holder

    def ask_too_late(address: bytes) -> tuple[int | None, int | None]:
        before.close()
        return ask(address)

    monkeypatch.setattr(sole, "_holder", ask_too_late)
    after = sole.Sole(instance)
    monkeypatch.setattr(sole, "_holder", ask)
    try:
        with pytest.raises(tm.ManagerRunningError, match=f"process {os.getpid()}"):
            sole.Sole(instance)
    finally:
        after.close()


def test_a_manager_serves_where_the_kernel_has_no_time_namespaces(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one time then, as the core has it."""
    real = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if path == "/proc/self/ns/time":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    with tm.Manager(instance):
        tm.new_table("t").drop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(daemon: Daemon, number: signal.Signals, no_traces: None) -> None:
    """Exit code 0, no socket, no lock; the tables it held are orphans that anybody may claim."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.call(on_table, "t", "insert", (1, 2))
    worker.kill()
    with tm.attach("t") as table:
        eventually(lambda: owner_pid(table) == daemon.pid)
        assert daemon.terminate(number) == 0
        info = table.info()
        assert info.orphan
        assert table.lookup(1) == [(1, 2)]


def test_a_client_can_end_it(daemon: Daemon, no_traces: None) -> None:
    """stop_manager returns when it is gone; twice is an error."""
    Client().stop_manager()
    assert daemon.process.wait(TIMEOUT) == 0
    with pytest.raises(tm.ManagerUnavailableError):
        Client().stop_manager()


def test_the_socket_of_a_dead_manager_is_replaced(daemon: Daemon, runtime: Path, no_traces: None) -> None:
    """SIGKILL leaves a socket that nobody listens on; it is in nobody's way."""
    daemon.kill()
    assert list((runtime / "tablemgr").glob("*.sock"))
    with pytest.raises(tm.ManagerUnavailableError):
        tm.new_table("t")
    daemon.start()
    tm.new_table("t").drop()
    daemon.terminate()


def test_the_socket_is_for_its_user_alone(daemon: Daemon, runtime: Path) -> None:
    """The directory has mode 0700, the socket 0600."""
    assert (runtime / "tablemgr").stat().st_mode & 0o777 == 0o700
    (found,) = (runtime / "tablemgr").glob("*.sock")
    assert found.stat().st_mode & 0o777 == 0o600


def test_instances_do_not_know_of_each_other(daemon: Daemon, instance: str, no_traces: None) -> None:
    """The same table name in two instances is two tables, with two managers, side by side."""
    other = instance + "-other.name"
    second = Daemon(other)
    with tm.new_table("t") as here, tm.new_table("t", instance=other) as there:
        here.insert((1, "here"))
        there.insert((1, "there"))
        assert here.lookup(1) == [(1, "here")]
        assert there.lookup(1) == [(1, "there")]
        assert [info.instance for info in tm.tables(other)] == [other]
        assert tm.info(other).manager.pid == second.pid  # type: ignore[union-attr]  # it runs
        there.drop()
        here.drop()
    second.terminate()
    daemon.terminate()


def test_an_instance_with_a_long_and_odd_name_has_a_manager(instance: str, no_traces: None) -> None:
    """What is too long for a socket's address is shortened there, not refused."""
    name = "../" + "x" * 100 + " ☃"
    daemon = Daemon(name)
    with tm.new_table("t", instance=name) as table:
        table.drop()
    daemon.terminate()


def test_a_manager_is_started_on_demand(instance: str, monkeypatch: pytest.MonkeyPatch, no_traces: None) -> None:
    """new_table starts one, as nobody's child, and the next caller uses it."""
    monkeypatch.delenv("TABLEMGR_AUTOSTART")
    with tm.new_table("t") as table:
        table.insert((1, 2))
        manager = tm.info().manager
        assert manager is not None
        assert manager.pid != os.getpid()
        stat = Path(f"/proc/{manager.pid}/stat").read_text().rpartition(")")[2].split()
        assert int(stat[1]) != os.getpid()
        assert int(stat[3]) not in (manager.pid, os.getsid(0))
        assert os.readlink(f"/proc/{manager.pid}/fd/1") == os.devnull
        worker = Worker()
        assert "TableOwnedError" in worker.call(claim_error, "t")
        assert tm.info().manager == manager
        table.drop()
    Client().stop_manager()


def test_what_a_manager_warns_of_as_it_starts_keeps_nobody_from_it(
    instance: str, monkeypatch: pytest.MonkeyPatch, no_traces: None
) -> None:
    """A damaged table of the instance is the concern of who uses that one."""
    Path(f"/dev/shm/tablemgr.{instance}.damaged").write_bytes(b"x" * 5000)
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    with tm.new_table("t") as table:
        table.drop()
    Client().stop_manager()


def test_of_racing_starters_exactly_one_starts_a_manager(
    instance: str, monkeypatch: pytest.MonkeyPatch, no_traces: None
) -> None:
    """All get their tables; one manager runs."""
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    workers = [Worker() for _ in range(6)]
    for n, worker in enumerate(workers):
        worker.start(open_table, f"t{n}")
    assert [worker.result() for worker in workers] == [(False, None)] * 6
    processes = {entry: _command_line(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    managers = [pid for pid, command in processes.items() if f"--instance={instance}" in command]
    assert managers == [str(tm.info().manager.pid)]  # type: ignore[union-attr]  # it runs
    for worker in workers:
        worker.kill()
    Client().stop_manager()


def _command_line(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def test_autostart_can_be_turned_off_per_client(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over the environment."""
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    with pytest.raises(tm.ManagerUnavailableError):
        Client(autostart=False).new_table("t")
    assert tm.info().manager is None


def test_why_a_manager_does_not_start_is_told(instance: str, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The starter hears the reason, at once."""
    monkeypatch.setenv("TABLEMGR_AUTOSTART", "1")
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(tm.ManagerUnavailableError, match="started and ended"):
        tm.new_table("t")


def test_a_manager_that_holds_the_lock_and_never_listens_is_given_up(instance: str) -> None:
    """It loads its tables, or is stopped: one more would find the lock taken, again and again."""
    lock = rendezvous.FileLock(instance, "lock")
    assert lock.acquire()
    failed: list[str] = []

    def ask() -> None:
        with pytest.raises(tm.ManagerUnavailableError) as caught:
            rendezvous.connect_or_start(instance, timeout=0.1)
        failed.append(str(caught.value))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(TIMEOUT / 3)
    lock.release()
    if asking.is_alive():  # it has started one by now
        asking.join()
        Client().stop_manager()
    assert len(failed) == 1
    assert "did not start within 0.1 seconds" in failed[0]


def test_waiting_for_a_manager_ends_with_its_start_or_its_time(instance: str) -> None:
    """wait_for_manager starts nothing by itself."""
    with pytest.raises(tm.ManagerUnavailableError, match=r"after 0\.05 seconds"):
        tm.wait_for_manager(0.05)
    worker = Worker()
    worker.start(wait_for_manager)
    assert not worker.has_result()
    Daemon(instance)
    assert worker.result() is True


def wait_for_manager(state: dict[str, object], timeout: float | None = TIMEOUT) -> bool:
    """In a worker."""
    tm.wait_for_manager(timeout)
    return True


def test_a_stopped_manager_is_waited_for_as_long_as_was_said(daemon: Daemon) -> None:
    """wait_for_manager gives up in time, or not at all; stop_manager gives up in time."""
    os.kill(daemon.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(tm.ManagerUnavailableError, match="does not answer"):
        tm.wait_for_manager(0.3)
    with pytest.raises(tm.ManagerUnavailableError, match="does not answer"):
        tm.Client().stop_manager(0.3)
    assert 0.6 <= time.monotonic() - begun < 5
    os.kill(daemon.pid, signal.SIGCONT)


def test_a_manager_is_waited_for_longer_than_it_may_take_to_answer(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no timeout, or a long one, a stopped manager is no reason to give up."""
    monkeypatch.setattr("tablemgr.conversation.ANSWER_SECONDS", 0.1)
    os.kill(daemon.pid, signal.SIGSTOP)
    workers = [Worker(), Worker()]
    for worker, timeout in zip(workers, (None, 60.0), strict=True):
        worker.start(wait_for_manager, timeout)
    with pytest.raises(tm.ManagerUnavailableError, match="does not answer"):
        tm.wait_for_manager(0.5)
    assert not any(worker.has_result() for worker in workers)
    os.kill(daemon.pid, signal.SIGCONT)
    for worker in workers:
        worker.result()


@pytest.mark.parametrize("trouble", ["mode", "symlink", "file"])
def test_a_directory_that_others_could_have_made_is_refused(instance: str, runtime: Path, trouble: str) -> None:
    """By the manager and by its clients: nobody may listen in the manager's place."""
    directory = runtime / "tablemgr"
    if trouble == "mode":
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
    elif trouble == "symlink":
        (runtime / "elsewhere").mkdir(mode=0o700)
        directory.symlink_to("elsewhere")
    else:
        directory.write_text("")
    with pytest.raises(tm.ManagerUnavailableError, match=str(directory)):
        tm.new_table("t")
    refused = run_another(instance)
    assert refused.returncode == 1
    assert str(directory) in refused.stderr
    assert "Traceback" not in refused.stderr
    if trouble == "symlink":
        assert not list((runtime / "elsewhere").iterdir())


def test_a_process_without_descriptors_is_not_told_to_remove_the_directory(runtime: Path) -> None:
    """It is told what it has too many of."""
    (runtime / "tablemgr").mkdir(mode=0o700)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(tm.ManagerUnavailableError) as caught, rendezvous.directory():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "Too many open files" in str(caught.value)
    assert "remove" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory somebody else's")
def test_a_directory_of_another_user_is_refused(instance: str, runtime: Path) -> None:
    """Whatever its mode."""
    directory = runtime / "tablemgr"
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, -1)
    with pytest.raises(tm.ManagerUnavailableError, match="uid 65534"):
        tm.new_table("t")


def test_without_a_runtime_directory_there_is_one_under_tmp(
    instance: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the variable names what is not this user's to use."""
    expected = f"/tmp/tablemgr-{os.geteuid()}"
    for value in ("", "relative", str(runtime / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert rendezvous.directory_path() == expected
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert rendezvous.directory_path() == expected


def test_a_socket_that_is_no_managers_is_told_from_one(instance: str, runtime: Path) -> None:
    """Something else that listens under the name and talks nonsense is an error, not a hang."""
    directory = runtime / "tablemgr"
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / rendezvous.file_name(instance, "sock")))
        listener.listen()
        worker = Worker()
        worker.start(claim_error, "t")
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 smtp ready\r\n")
            assert "ManagerUnavailableError: what answers in the manager's place is none" in worker.result()


def test_no_rows_are_lost_over_a_clean_restart(daemon: Daemon) -> None:
    """A manager that was ended properly leaves as much as one that was killed."""
    worker = Worker()
    worker.call(open_table, "t")
    worker.call(on_table, "t", "insert", [(n, "x") for n in range(1000)])
    worker.kill()
    daemon.terminate()
    daemon.start()
    successor = Worker()
    assert successor.call(open_table, "t") == (True, "heir")
    assert len(successor.call(rows, "t")) == 1000
