"""Tables that a service keeps in files: saved while it runs and at its end, loaded at the next start."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tablemgr as tm
from tablemgr.manager.saving import Item, Saving, file_name

from .service import Service
from .support import Worker, eventually, on_table, open_table, rows

STOP_IN = """
import os, signal, tablemgr.files
real, calls = os.{function}, []
def stop(*args, **options):
    calls.append(args)
    if len(calls) == {call}:
        print("stopped", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
        while True:
            signal.pause()
    return real(*args, **options)
os.{function} = stop
"""


def content(path: Path) -> list[tuple[object, ...]]:
    """The rows in a file."""
    with tm.load(path, name="looked at") as table:
        found = sorted(table)
        table.drop()
    return found


def fill(name: str, found: list[tuple[object, ...]], **options: object) -> None:
    """A table that its owner has left behind."""
    worker = Worker()
    worker.call(open_table, name, **options)
    worker.call(on_table, name, "insert", found)
    worker.kill()


def test_the_files_of_a_directory_have_the_names_of_tables() -> None:
    """Patterns choose, an item of its own goes before them, and names that are no file names are encoded."""
    own = Item("jobs", "/elsewhere", 5.0)
    saving = Saving((own,), "/dir", ("jo*", "a/b"), 60.0)
    assert saving.wanted(["jobs", "jokes", "a/b", "other"]) == [
        own,
        Item("jokes", "/dir/jokes.table", 60.0),
        Item("a/b", "/dir/a%2Fb.table", 60.0),
    ]
    assert Saving((own,)).wanted(["jobs", "other"]) == [own]
    assert len(file_name("x" * 243)) <= 255


def test_tables_outlive_a_reboot(instance: str, tmp_path: Path) -> None:
    """Saved at the end, gone from memory, loaded at the start: whoever claims them has them with every row."""
    options = ("--save-dir", str(tmp_path), "--save-every", "3600")
    service = Service(instance, tmp_path, *options)
    fill("jobs", [(n, "x") for n in range(1000)])
    fill("a/b", [(1, b"\xff")], type="ordered_set")
    with tm.create("own") as own:
        assert service.terminate() == 0
        own.drop()
    assert not (tmp_path / "own.table").exists(), "without an heir a table is nobody else's to keep"
    for name in ("jobs", "a/b"):
        tm.drop(name, force=True)
    service.start()
    assert {(line["table"], line["rows"]) for line in service.events("loaded")} == {("jobs", 1000), ("a/b", 1)}
    successor = Worker()
    assert successor.call(open_table, "jobs") == (True, "heir")
    assert len(successor.call(rows, "jobs")) == 1000
    with tm.new_table("a/b", type="ordered_set") as table:
        assert list(table) == [(1, b"\xff")]
    assert [info.name for info in tm.tables()] == ["a/b", "jobs"]


def test_what_is_there_is_newer_than_its_file(instance: str, tmp_path: Path) -> None:
    """Over a restart of the manager alone, rows written since the last save stay."""
    service = Service(instance, tmp_path, "--save", f"jobs={tmp_path}/jobs:3600")
    fill("jobs", [(1, "saved")])
    assert service.terminate() == 0
    assert content(tmp_path / "jobs") == [(1, "saved")]
    tm.drop("jobs", force=True)
    with tm.create("jobs", access="public", heir="manager") as table:
        table.insert((2, "newer"))
        service.start()
        assert not service.events("loaded", "load_failed")
        assert list(table) == [(2, "newer")]


def test_tables_are_saved_while_the_service_runs(instance: str, tmp_path: Path) -> None:
    """Again and again, so that SIGKILL of everything loses what came after the last save only."""
    service = Service(instance, tmp_path, "--save", f"jobs={tmp_path}/jobs:0.05")
    owner = Worker()
    owner.call(open_table, "jobs")
    for count in (10, 20):
        owner.call(on_table, "jobs", "insert", [(n, "x") for n in range(count)])
        eventually(lambda count=count: [line for line in service.events("saved") if line["rows"] == count])  # type: ignore[misc]
    service.kill()
    assert len(content(tmp_path / "jobs")) == 20


@pytest.mark.parametrize(("function", "call"), [("fsync", 3), ("link", 2), ("replace", 2)])
def test_sigkill_in_the_middle_of_a_save_leaves_the_file_before(
    instance: str, tmp_path: Path, function: str, call: int
) -> None:
    """Everything is written, but not under the name: the name has the last whole save, and no other file is there."""
    saves = tmp_path / "saves"
    saves.mkdir()
    code = STOP_IN.format(function=function, call=call)
    service = Service(instance, tmp_path, "--save", f"jobs={saves}/jobs:0.05", code=code, stdout=subprocess.PIPE)
    owner = Worker()
    with tm.create("jobs", access="public", heir="manager") as table:
        table.insert((1, "old"))
        assert service.process.stdout is not None
        eventually(lambda: service.events("saved"))
        table.insert((2, "new"))
        assert service.process.stdout.readline() == b"stopped\n"
        assert owner.call(open_table, "other") == (False, None), "clients are served beside a save that hangs"
        service.kill()
        service.process.stdout.close()
    assert content(saves / "jobs")[0] == (1, "old")
    left = {path.name for path in saves.iterdir()} - {"jobs"}
    assert not left or function == "replace", left
    owner.kill()


def test_a_save_that_fails_is_logged_and_tried_again(instance: str, tmp_path: Path) -> None:
    """The service goes on; one line tells it until it works."""
    directory = tmp_path / "saves"
    service = Service(instance, tmp_path, "--save", f"jobs={directory}/jobs:0.05")
    fill("jobs", [(1, "x")])
    eventually(lambda: service.events("save_failed"))
    tm.new_table("other").drop()
    directory.mkdir()
    eventually(lambda: service.events("saved"))
    (failed,) = service.events("save_failed")
    assert failed["table"] == "jobs"
    assert "No such file" in failed["reason"]
    assert service.terminate() == 0


def test_a_private_table_is_not_saved_and_says_so(instance: str, tmp_path: Path) -> None:
    """Its owner alone may read it; named it is a failure, by a pattern it is left out."""
    saves = tmp_path / "saves"
    saves.mkdir()
    service = Service(
        instance, tmp_path, "--save", f"secret={tmp_path}/secret:0.05", "--save", "*", "--save-dir", str(saves)
    )
    owner = Worker()
    for name in ("secret", "other"):
        owner.call(open_table, name, access="private")
    eventually(lambda: service.events("save_failed"))
    assert service.terminate() == 0
    assert not (tmp_path / "secret").exists()
    assert not list(saves.iterdir())


def test_a_damaged_file_is_put_aside_and_the_others_are_loaded(instance: str, tmp_path: Path) -> None:
    """No save ever replaces what could not be loaded; the log says where it is now."""
    saves = tmp_path / "saves"
    saves.mkdir()
    options = ("--save-dir", str(saves), "--save-every", "0.05")
    service = Service(instance, tmp_path, *options)
    for name in ("a", "b", "c"):
        fill(name, [(n, name) for n in range(100)])
    assert service.terminate() == 0
    damaged = (saves / "b.table").read_bytes()[:-10]
    (saves / "b.table").write_bytes(damaged)
    for name in ("a", "b", "c"):
        tm.drop(name, force=True)
    service.start()
    assert [info.name for info in tm.tables()] == ["a", "c"]
    (failed,) = service.events("load_failed")
    assert failed["path"] == str(saves / "b.table")
    assert "damaged" in failed["reason"]
    aside = Path(failed["put_aside"])
    assert re.fullmatch(r"b\.table\.refused-\d+T\d+", aside.name)
    with tm.new_table("b") as table:
        table.insert((1, "fresh"))
        eventually(lambda: (saves / "b.table").exists())
    assert aside.read_bytes() == damaged


def test_a_process_that_dies_of_a_file_does_not_take_the_others_with_it(instance: str, tmp_path: Path) -> None:
    """The file that it was busy with is put aside, a new process loads the rest."""
    saves = tmp_path / "saves"
    saves.mkdir()
    options = ("--save-dir", str(saves), "--save-every", "3600")
    service = Service(instance, tmp_path, *options)
    for name in ("a", "b", "c"):
        fill(name, [(1, name)])
    assert service.terminate() == 0
    for name in ("a", "b", "c"):
        tm.drop(name, force=True)
    kill = tmp_path / "kill"
    kill.mkdir()
    (kill / "sitecustomize.py").write_text(
        "import builtins, os, signal\nreal = open\ndef killing(file, *args, **options):\n"
        "    if str(file).endswith('b.table'):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(file, *args, **options)\nbuiltins.open = killing\n"
    )
    service.env = {"PYTHONPATH": str(kill)}
    service.start()
    assert [line["table"] for line in service.events("loaded")] == ["a", "c"]
    (failed,) = service.events("load_failed")
    assert failed["table"] == "b"
    assert "ended with -9" in failed["reason"]
    assert Path(failed["put_aside"]).exists()


def test_a_file_that_cannot_be_put_aside_is_never_replaced(instance: str, tmp_path: Path) -> None:
    """Its table is not saved instead."""
    saves = tmp_path / "saves"
    saves.mkdir()
    (saves / "jobs.table").write_bytes(b"precious")
    code = "import os\nreal = os.rename\ndef rename(old, new, **options):\n    if 'refused' in str(new):\n"
    code += "        raise PermissionError(1, 'Operation not permitted')\n    return real(old, new, **options)\n"
    code += "os.rename = rename"
    service = Service(instance, tmp_path, "--save-dir", str(saves), "--save-every", "0.02", code=code)
    (failed,) = service.events("load_failed")
    assert "nowhere" in failed["put_aside"]
    fill("jobs", [(1, "x")])
    fill("other", [(1, "x")])
    eventually(lambda: len([line for line in service.events("saved") if line["table"] == "other"]) > 3)
    assert service.terminate() == 0
    assert (saves / "jobs.table").read_bytes() == b"precious"


def test_a_directory_that_is_gone_does_not_keep_the_service_from_serving(instance: str, tmp_path: Path) -> None:
    """What cannot be listed is logged, and clients are served."""
    saves = tmp_path / "saves"
    saves.mkdir()
    code = f"import os, shutil\nreal = os.path.isdir\nos.path.isdir = lambda p: real(p) or p == {str(saves)!r}"
    shutil.rmtree(saves)
    service = Service(instance, tmp_path, "--save-dir", str(saves), code=code)
    assert service.events("load_failed")
    tm.new_table("t").drop()
    assert service.terminate() == 0
