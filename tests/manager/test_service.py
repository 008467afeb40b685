"""`tablemgr serve` as a service: its log, its init system, its end, and its metrics."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import tablemgr as tm
from tablemgr import cli, protocol, rendezvous
from tablemgr.manager.logs import Log
from tablemgr.manager.metrics import Address
from tablemgr.manager.systemd import Notifier, passed_socket

from .service import Service, with_client
from .support import TIMEOUT, Worker, eventually, in_line, make_kept, on_table, open_table, rows, until_equal
from .test_hostile import Peer


@pytest.fixture
def init(tmp_path: Path) -> Iterator[socket.socket]:
    """An init system's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(TIMEOUT)
        yield heard


def hear(init: socket.socket, wanted: str) -> list[str]:
    """Wait until the service has said this; all that it said until then."""
    said: list[str] = []
    while wanted not in said:
        said += init.recv(4096).decode().split("\n")
    return said


def notify_env(init: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": init.getsockname(), **more}


# -- init system -------------------------------------------------------------------------------------------------------


def test_an_init_system_hears_of_readiness_reload_health_and_end(
    instance: str, tmp_path: Path, init: socket.socket
) -> None:
    """READY=1 when clients are served, WATCHDOG=1 again and again, RELOADING=1 and READY=1, STOPPING=1; exit code 0."""
    service = Service(instance, tmp_path, "--systemd", env=notify_env(init, WATCHDOG_USEC="100000"))
    said = hear(init, "READY=1")
    assert "RELOADING=1" not in said
    assert f"MAINPID={service.pid}" in said
    with_client(instance, lambda client: client.wait_for_manager(0))
    for _ in range(3):
        hear(init, "WATCHDOG=1")
    service.process.send_signal(signal.SIGHUP)
    hear(init, "RELOADING=1")
    hear(init, "READY=1")
    service.process.send_signal(signal.SIGTERM)
    hear(init, "STOPPING=1")
    assert service.process.wait(TIMEOUT) == 0


def test_a_stopped_service_gives_no_sign_of_life(instance: str, tmp_path: Path, init: socket.socket) -> None:
    """The watchdog hears the loop that serves, nothing else."""
    service = Service(instance, tmp_path, "--systemd", env=notify_env(init, WATCHDOG_USEC="50000"))
    hear(init, "WATCHDOG=1")
    service.process.send_signal(signal.SIGSTOP)
    init.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            init.recv(4096)
    service.process.send_signal(signal.SIGCONT)
    init.settimeout(TIMEOUT)
    hear(init, "WATCHDOG=1")


def test_without_an_init_system_nothing_is_said_and_nothing_fails(instance: str, tmp_path: Path) -> None:
    """--systemd on a terminal, and with an address that nobody listens on."""
    service = Service(instance, tmp_path, "--systemd")
    assert service.terminate() == 0
    service = Service(instance, tmp_path, "--systemd", env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert service.terminate() == 0


def test_the_words_of_an_init_system_are_not_for_children(init: socket.socket) -> None:
    """Its variables are taken out of the environment; abstract addresses work; another's watchdog is not ours."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind("")
        abstract.settimeout(TIMEOUT)
        name = abstract.getsockname().decode()
        environment = {"NOTIFY_SOCKET": "@" + name[1:], "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "HOME": "/"}
        notifier = Notifier(environment)
        assert environment == {"HOME": "/"}
        assert notifier.watchdog_seconds is None
        notifier.ready("well")
        assert abstract.recv(4096) == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=well".encode()
    assert Notifier({"WATCHDOG_USEC": "4000000"}).watchdog_seconds == 2.0
    assert passed_socket({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None
    with pytest.raises(tm.ManagerUnavailableError, match="one socket"):
        passed_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"})


@pytest.fixture
def listener(instance: str, runtime: Path) -> Iterator[socket.socket]:
    """What an init system makes: the socket of the instance, before any manager runs."""
    (runtime / "tablemgr").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(rendezvous.socket_path(instance))
        os.chmod(rendezvous.socket_path(instance), 0o600)
        listening.listen()
        yield listening


def test_a_passed_socket_is_served_and_outlives_the_service(
    instance: str, tmp_path: Path, listener: socket.socket
) -> None:
    """A client that came before the service is served by it; at its end the socket stays, for the next one."""
    worker = Worker()
    worker.start(open_table, "t")
    service = Service(instance, tmp_path, "--systemd", listener=listener)
    assert worker.result() == (False, None)
    assert service.terminate() == 0
    assert os.path.exists(rendezvous.socket_path(instance))
    other = Worker()
    other.start(open_table, "u")
    service.start()
    assert other.result() == (False, None)
    worker.kill()
    assert other.call(open_table, "t") == (True, "heir")


def test_a_passed_socket_where_no_client_looks_is_refused(instance: str, tmp_path: Path, runtime: Path) -> None:
    """The message says where it belongs."""
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind(str(tmp_path / "elsewhere"))
        elsewhere.listen()
        with pytest.raises(tm.ManagerUnavailableError, match=f"bind it to {rendezvous.socket_path(instance)}"):
            rendezvous.check_listener(elsewhere, instance)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wrong, pytest.raises(tm.ManagerUnavailableError):
        rendezvous.check_listener(wrong, instance)


def test_a_manager_started_on_demand_is_replaced(instance: str, tmp_path: Path, no_traces: None) -> None:
    """`serve --replace` takes over the tables and the line of the manager that runs."""
    first = Service(instance, tmp_path)
    kept = make_kept(first, "t")
    owner, standby = Worker(), Worker()
    owner.call(open_table, "jobs")
    standby.start(open_table, "jobs", wait=None)
    eventually(lambda: in_line(instance))
    second = Service(instance, tmp_path, "--replace")
    assert first.process.wait(TIMEOUT) == 0
    until_equal([("jobs", standby.pid)], in_line, instance)
    with tm.new_table("t") as table:
        assert table.transfer is not None
        assert table.transfer.from_.pid == kept
    owner.kill()
    assert standby.result() == (True, "heir")
    assert second.terminate() == 0


def test_the_end_takes_away_its_own_socket_only(instance: str, tmp_path: Path) -> None:
    """What an init system has bound under the name meanwhile stays."""
    service = Service(instance, tmp_path)
    path = rendezvous.socket_path(instance)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as another:
        another.bind(path)
        assert service.terminate() == 0
        assert os.path.exists(path)
    os.unlink(path)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_sigterm_answers_what_was_asked_before_it_ends(instance: str, tmp_path: Path) -> None:
    """Requests that had arrived get their answers, who stands in line is told that the manager ends."""
    service = Service(instance, tmp_path)
    owner = Worker()
    owner.call(open_table, "jobs")
    with tm.attach("jobs") as jobs:
        table_id = jobs._handle.describe().table_id
    waiting, asking = Peer(instance), Peer(instance)
    waiting.greet()
    asking.greet()
    waiting.say(protocol.Claim("jobs", table_id, 0.0, None))
    eventually(lambda: in_line(instance))
    service.process.send_signal(signal.SIGSTOP)
    asking.socket.sendall(protocol.encode(protocol.Status()) * 3)
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGCONT)
    answers = b""
    while data := asking.socket.recv(65536):
        answers += data
    assert [json.loads(line)["type"] for line in answers.splitlines()] == ["StatusReport"] * 3
    assert waiting.refusal() == "ending"
    assert service.process.wait(TIMEOUT) == 0
    (ending,) = service.events("ending")
    assert ending["waiting"] == 1
    for peer in (waiting, asking):
        peer.socket.close()


def test_who_waits_at_the_end_waits_on_at_the_successor(instance: str, tmp_path: Path) -> None:
    """Claimants in line notice nothing: they keep their order and get the table from the successor."""
    service = Service(instance, tmp_path)
    owner, first, second = Worker(), Worker(), Worker()
    owner.call(open_table, "jobs")
    owner.call(on_table, "jobs", "insert", (1, "x"))
    for worker in (first, second):
        worker.start(open_table, "jobs", wait=None)
        until_equal(True, is_in_line, instance, worker.pid)
    assert service.terminate() == 0
    assert not first.has_result()
    assert not second.has_result()
    service.start()
    until_equal([("jobs", first.pid), ("jobs", second.pid)], in_line, instance)
    owner.kill()
    assert first.result() == (True, "heir")
    assert first.call(rows, "jobs") == [(1, "x")]
    assert not second.has_result()


def is_in_line(instance: str, pid: int) -> bool:
    """Whether the process waits for the table "jobs"."""
    return ("jobs", pid) in in_line(instance)


# -- the log -----------------------------------------------------------------------------------------------------------


def test_what_happens_to_tables_is_a_line_each(instance: str, tmp_path: Path) -> None:
    """Death, inheritance, hand-over, end: with time, level, event and what it is about."""
    service = Service(instance, tmp_path)
    worker = make_kept(service, "jobs")
    with tm.new_table("jobs"):
        pass
    assert service.terminate() == 0
    events = [(line["event"], line.get("table"), line.get("pid")) for line in service.lines()]
    assert events == [
        ("serving", None, service.pid),
        ("death", None, worker),
        ("inherited", "jobs", None),
        ("given", "jobs", os.getpid()),
        ("ending", None, None),
        ("ended", None, None),
    ]
    assert all(line["time"].endswith("Z") and line["level"] == "info" for line in service.lines())
    assert os.stat(service.log).st_mode & 0o137 == 0


def test_the_log_is_text_for_people(instance: str, tmp_path: Path) -> None:
    """key=value on standard error, where what is not one word is quoted; nothing below the level."""
    with open(tmp_path / "said", "wb") as said:
        options = ["--log-format", "text", "--log-level", "warning", "--max-clients", "1"]
        service = Service(instance, tmp_path, *options, stderr=said.fileno())
        peers = [Peer(instance), Peer(instance)]
        assert peers[1].refusal() == "crowded"
        assert service.terminate() == 0
    text = (tmp_path / "said").read_text()
    assert text.count("\n") == 1
    assert f' level=warning event=refused pid={os.getpid()} code=crowded reason="there are 1 ' in text
    for peer in peers:
        peer.socket.close()


def test_sighup_goes_on_in_a_new_log_file(instance: str, tmp_path: Path) -> None:
    """As after logrotate: the old file keeps what it has, nothing is lost between the two."""
    service = Service(instance, tmp_path)
    service.log.rename(tmp_path / "old.log")
    make_kept(service, "before")
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.events("reopened"))
    make_kept(service, "after")
    assert service.terminate() == 0
    old = [line.get("table") for line in service.lines(tmp_path / "old.log") if line["event"] == "inherited"]
    new = [line.get("table") for line in service.events("inherited")]
    assert (old, new) == (["before"], ["after"])


def test_a_log_file_that_cannot_be_reopened_is_written_on(instance: str, tmp_path: Path) -> None:
    """The old one, with the reason."""
    logs = tmp_path / "logs"
    logs.mkdir()
    service = Service(instance, logs)
    gone = tmp_path / "gone"
    logs.rename(gone)
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: any(line["event"] == "reopen_failed" for line in service.lines(gone / "service.log")))
    assert service.terminate() == 0
    assert service.lines(gone / "service.log")[-1]["event"] == "ended"


def test_without_a_log_file_sighup_is_the_end(instance: str, tmp_path: Path, no_traces: None) -> None:
    """A terminal that goes away ends the manager in good order."""
    service = Service(instance, tmp_path, "--log-format", "json", "--log-level", "error")
    assert service.terminate(signal.SIGHUP) == 0


def test_a_log_that_nobody_reads_holds_nobody_up(instance: str, tmp_path: Path) -> None:
    """Standard error is a pipe that is full: tables are claimed on, and SIGTERM ends the manager."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    service = Service(instance, tmp_path, "--log-format", "text", "--log-level", "debug", stderr=writing)
    for number in range(50):
        tm.new_table(f"t{number}").drop()
    assert service.terminate() == 0
    os.close(reading)
    os.close(writing)


def test_a_log_at_an_impossible_place_keeps_the_service_from_starting(instance: str, tmp_path: Path) -> None:
    """One line that says why, and exit code 1, before anything is served."""
    nowhere = str(tmp_path / "missing" / "log")
    service = Service(
        instance, tmp_path, "--log-format", "text", "--log-file", nowhere, stderr=subprocess.PIPE, waits=False
    )
    failure = service.failure()
    assert f"--log-file {nowhere!r}: No such file or directory" in failure
    assert "[Errno" not in failure
    with pytest.raises(ValueError, match="level"):
        Log(level="loud")


# -- metrics -----------------------------------------------------------------------------------------------------------


def parse(text: str) -> dict[str, float]:
    """The samples of a scrape, by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(sample.labels.values()) if family.name == "tablemgr_tables" else ""
            found[f"{sample.name}:{labels}" if labels else sample.name] = sample.value
    return found


def scrape(path: Path, request: bytes = b"GET /metrics HTTP/1.0\r\n\r\n") -> str:
    """What is served on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        connection.sendall(request)
        said = b""
        while data := connection.recv(65536):
            said += data
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"200 OK" in head.splitlines()[0]
    return body.decode()


def test_metrics_tell_of_tables_owners_and_what_happened(instance: str, tmp_path: Path) -> None:
    """Every figure against what was done, as Prometheus's own parser reads it."""
    path = tmp_path / "metrics"
    service = Service(instance, tmp_path, "--metrics", f"unix:{path}")
    make_kept(service, "kept")
    make_kept(service, "handed")
    owner, peer = Worker(), Peer(instance)
    owner.call(open_table, "owned")
    owner.call(on_table, "owned", "insert", [(n, "x") for n in range(100)])
    owner.call(open_table, "handed")
    peer.socket.sendall(b"nonsense\n")
    assert peer.refusal() == "garbage"
    Path(f"/dev/shm/tablemgr.{instance}.damaged").write_bytes(b"x" * 5000)
    is_root = os.geteuid() == 0
    if is_root:
        theirs = Path(f"/dev/shm/tablemgr.{instance}.theirs")
        theirs.write_bytes(b"x" * 5000)
        os.chown(theirs, 65534, -1)
    until_equal(1.0, lambda: parse(scrape(path))["tablemgr_transfers_total"])  # it was taken, and that told afterwards
    found = parse(scrape(path))
    expected = {
        "tablemgr_tables:owned": 2,
        "tablemgr_tables:kept": 1,
        "tablemgr_tables:orphan": 0,
        "tablemgr_tables:closed": int(is_root),
        "tablemgr_tables:damaged": 1,
        "tablemgr_owners": 1,
        "tablemgr_rows": 100,
        "tablemgr_owner_deaths_total": 2,
        "tablemgr_inherited_total": 2,
        "tablemgr_transfers_total": 1,
        "tablemgr_claims_total": 3,
        "tablemgr_refusals_total": 1,
        "tablemgr_waiting": 0,
        "tablemgr_repairs": 0,
        "tablemgr_log_lines_lost_total": 0,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["tablemgr_used_bytes"] > 0
    assert found["tablemgr_reserved_bytes"] > found["tablemgr_used_bytes"]
    assert found["tablemgr_uptime_seconds"] > 0
    assert found["tablemgr_clients"] >= 1
    assert found["process_resident_memory_bytes"] > 0
    assert os.stat(path).st_mode & 0o777 == 0o660
    tm.drop("damaged", force=True)
    peer.socket.close()
    assert service.terminate() == 0
    assert not path.exists()


def test_metrics_are_served_on_a_port_of_this_machine(instance: str, tmp_path: Path) -> None:
    """Port 0 is any; the log says which. Garbage and silence on the port are nobody else's trouble."""
    service = Service(instance, tmp_path, "--metrics", "localhost:0")
    url = service.events("serving")[0]["metrics"]
    host, _, port = url.removeprefix("http://").removesuffix("/metrics").partition(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, int(port))) as rude:
        rude.sendall(b"\x00\xff" * 100 + b"\r\n\r\n")
        while rude.recv(4096):
            pass
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "tablemgr_uptime_seconds" in parse(answer.read().decode())
    assert service.terminate() == 0


def test_a_scrape_that_hangs_does_not_keep_the_service_from_its_end(instance: str, tmp_path: Path) -> None:
    """Clients are served beside it, and SIGTERM ends the manager when the scrape's time is over."""
    path = tmp_path / "metrics"
    service = Service(instance, tmp_path, "--metrics", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        silent.sendall(b"GET /me")
        tm.new_table("t").drop()
        assert service.terminate() == 0


def test_addresses_that_others_can_reach_are_refused() -> None:
    """Metrics are for this machine."""
    assert Address.parse("9100") == Address(None, "127.0.0.1", 9100)
    assert Address.parse("[::1]:9100") == Address(None, "::1", 9100)
    assert str(Address.parse("[::1]:9100")) == "http://[::1]:9100/metrics"
    assert Address.parse("unix:/run/m") == Address("/run/m", "", 0)
    for wrong in ("0.0.0.0:9100", "example.org:9100", "[::]:1", "127.0.0.1", "1:x", "99999", "unix:m", "", ":"):
        with pytest.raises(ValueError, match="metrics|absolute"):
            Address.parse(wrong)


def test_metrics_never_take_the_place_of_something_else(instance: str, tmp_path: Path) -> None:
    """A socket that is listened on, or a file, stays; the service does not start, and says why."""
    path = tmp_path / "metrics"
    path.write_text("precious")
    options = ("--log-format", "text", "--metrics", f"unix:{path}")
    service = Service(instance, tmp_path, *options, stderr=subprocess.PIPE, waits=False)
    assert "something else than a socket" in service.failure()
    assert path.read_text() == "precious"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert Service(instance, tmp_path, "--metrics", f"unix:{path}").terminate() == 0


# -- embedded, and the unit files --------------------------------------------------------------------------------------


def test_an_embedded_manager_logs_to_the_program_it_is_in(instance: str, caplog: pytest.LogCaptureFixture) -> None:
    """Through the standard library's logging, as the logger tablemgr.manager, in words that need no formatter."""
    with tm.Manager():
        peer = Peer(instance)
        peer.socket.sendall(b"nonsense\n")
        assert peer.refusal() == "garbage"
        peer.socket.close()
    (record,) = [record for record in caplog.records if "refused" in record.getMessage()]
    assert record.name == "tablemgr.manager"
    assert f"refused pid={os.getpid()} code='garbage' reason='this is not a message" in record.getMessage()


UNITS = sorted((Path(__file__).parents[2] / "packaging" / "systemd").rglob("*@.*"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_unit_files_are_sound(unit: Path) -> None:
    """Their commands are ones that we have; systemd, where it is installed, finds nothing wrong with them."""
    for command in re.findall(r"^ExecStart=/usr/bin/env tablemgr (.*)$", unit.read_text(), flags=re.MULTILINE):
        assert cli.build_parser().parse_args(shlex.split(command)).systemd
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_clients_find_the_socket_of_the_unit_files(runtime: Path) -> None:
    """ListenStream= is where they look, with the modes that they insist on."""
    (unit,) = [unit for unit in UNITS if unit.suffix == ".socket"]
    text = unit.read_text()
    (path,) = re.findall(r"^ListenStream=(.*)$", text, flags=re.MULTILINE)
    assert path.replace("%t", str(runtime)).replace("%i", "my-shop_1") == rendezvous.socket_path("my-shop_1")
    assert "SocketMode=0600" in text
    assert "DirectoryMode=0700" in text
