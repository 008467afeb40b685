"""Compiles the C test programs together with the core, plainly and under the sanitizers.

Flags of the plain mode are those of the release: they are read from tablemgr/_build.py. A program is compiled again
only when one of its files or flags has changed.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "tests"
TESTS_C = ROOT / "tests" / "c"
STRICT = ["-Wall", "-Wextra", "-Wundef", "-Wshadow", "-Wconversion", "-Werror", "-g"]
SANITIZERS = {
    "plain": [],
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    # gcc warns that TSan does not know fences; what they order here are atomics, which it does know.
    "tsan": ["-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-unknown-warning-option", "-Wno-tsan"],
}
# Of whatever is run here: every finding of a sanitizer ends its program. Taken once, for a program may be started by a
# thread while pytest changes os.environ for the next test, and an exec that reads it then ends with EFAULT.
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=66",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
}


@dataclass(frozen=True)
class Program:
    """A test program: its name, its C files beside those of the core, and where it looks for headers.

    before: a header that stands before every file, those of the core as well, which are compiled once more for that.
    """

    name: str
    sources: tuple[Path, ...]
    include: tuple[Path, ...] = ()
    before: Path | None = None


def release_flags() -> list[str]:
    """The flags the extension module is compiled with."""
    spec = importlib.util.spec_from_file_location("_tablemgr_build", ROOT / "tablemgr" / "_build.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("tablemgr/_build.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [str(flag) for flag in module.COMPILE_ARGS]


def core_sources() -> list[Path]:
    """Every C file of the core; the codec is not of it, for it knows Python."""
    return sorted(path for path in CSRC.glob("*.c") if not path.name.startswith("codec"))


def compiler() -> str:
    """$CC, else cc, gcc or clang, whichever is there."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise RuntimeError("no C compiler found: install gcc or clang, or set CC")


def _fingerprint(command: list[str], sources: list[Path], include: list[Path]) -> str:
    """Changes when a flag, a source or a header that could be included does."""
    digest = hashlib.sha256("\0".join(command).encode())
    headers = sorted(header for folder in include for header in folder.glob("*.h"))
    for path in [*sources, *headers]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(command: list[str], output: Path) -> None:
    """Runs the compiler; the output appears complete or not at all."""
    partial = output.with_name(f"{output.name}.partial")
    done = subprocess.run(
        [*command, "-o", str(partial)], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    partial.replace(output)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder is there, and no other test run builds in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _objects(
    sources: list[Path], include: list[Path], mode: str, folder: Path, before: Path | None = None
) -> list[Path]:
    """Compiles what has changed, on all processors."""
    flags = [*release_flags(), *STRICT, *SANITIZERS[mode], *(f"-I{path}" for path in include)]
    if before is not None:
        flags += ["-include", str(before)]
    objects, missing = [], []
    for source in sources:
        command = [compiler(), *flags, "-c", str(source)]
        output = folder / f"{source.stem}-{_fingerprint(command, [source], include)}.o"
        objects.append(output)
        if not output.exists():
            for old in folder.glob(f"{source.stem}-*.o"):
                old.unlink()
            missing.append((command, output))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: _compile(*job), missing))
    return objects


def build(program: Program, mode: str = "plain") -> Path:
    """Compiles a program in a mode of SANITIZERS and returns the executable. RuntimeError: what the compiler said."""
    before = program.before
    core, folder = BUILD / mode / f"core{'_' + before.stem if before else ''}", BUILD / mode / program.name
    include = [CSRC, TESTS_C, *program.include]
    with _locked(core), _locked(folder):
        objects = _objects(core_sources(), [CSRC, TESTS_C] if before else [CSRC], mode, core, before)
        objects += _objects(list(program.sources), include, mode, folder, before)
        executable = folder / program.name
        stamp = folder / "stamp"
        wanted = " ".join(path.name for path in objects)
        if not executable.exists() or not stamp.exists() or stamp.read_text() != wanted:
            libraries = ["-pthread", "-Wl,-z,now", *map(str, objects), "-ldl"]
            _compile([compiler(), *SANITIZERS[mode][:1], *libraries], executable)
            stamp.write_text(wanted)
    return executable


def run(executable: Path, *arguments: str, timeout: float = 600.0) -> subprocess.CompletedProcess[str]:
    """Runs a test program with the sanitizers set to end it at the first finding."""
    return subprocess.run(
        [str(executable), *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
