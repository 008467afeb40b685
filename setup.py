"""Builds the two C extensions and says, before anything else, what a machine lacks for that.

`python setup.py preflight` only looks, needs nothing but the standard library, and is what `make` runs first.
Everything that is not compiled is described in pyproject.toml.
"""

import glob
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

STRICT = ["-UNDEBUG", "-Wall", "-Wextra", "-Wundef", "-Wshadow", "-Wconversion", "-Werror"]
CFLAGS = ["-O2", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-pthread", "-DNDEBUG"]

# What to type, per package manager, for each thing that may be missing.
REMEDIES = {
    "apt-get": {
        "compiler": "sudo apt-get install build-essential",
        "headers": "sudo apt-get install python3-dev",
        "venv": "sudo apt-get install python3-venv",
    },
    "dnf": {
        "compiler": "sudo dnf install gcc glibc-devel",
        "headers": "sudo dnf install python3-devel",
        "venv": "sudo dnf install python3-pip",
    },
    "zypper": {
        "compiler": "sudo zypper install gcc glibc-devel",
        "headers": "sudo zypper install python3-devel",
        "venv": "sudo zypper install python3-pip",
    },
    "pacman": {
        "compiler": "sudo pacman -S base-devel",
        "headers": "sudo pacman -S python",
        "venv": "sudo pacman -S python",
    },
    "apk": {
        "compiler": "sudo apk add build-base linux-headers",
        "headers": "sudo apk add python3-dev",
        "venv": "sudo apk add python3 py3-pip",
    },
}


def remedy(what):
    """The command that installs `what` here, or a description where no known package manager is found."""
    for manager, commands in REMEDIES.items():
        if shutil.which(manager):
            return commands[what]
    return {
        "compiler": "install a C compiler (gcc or clang) and the C library's headers",
        "headers": "install the development files of this Python",
        "venv": "install the modules venv and ensurepip of this Python",
    }[what]


def compiler():
    """The command of the C compiler, as setuptools will use it."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def compiles(source, *options):
    """Whether the compiler takes this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "probe.c")
        with open(path, "w") as file:
            file.write(source)
        command = [*compiler(), *options, "-c", path, "-o", os.path.join(folder, "probe.o")]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def missing_for_build():
    """What the compilation of the extensions will not find, as sentences that end in what to type."""
    if not sys.platform.startswith("linux"):
        return ["tablemgr runs on Linux only: it needs POSIX shared memory, robust futexes and pidfds."]
    if sys.version_info < (3, 10):
        found = f"{sys.executable} is {sys.version.split()[0]}"
        return [f"Python 3.10 or later is needed; {found}. With another one: make PYTHON=python3.x"]
    command = compiler()
    if shutil.which(command[0]) is None:
        return [f"The C compiler {command[0]!r} is missing. To install it: {remedy('compiler')}  (or set CC to yours)"]
    if not compiles("#include <stdatomic.h>\n#include <pthread.h>\nint main(void) { return 0; }\n", "-std=c11"):
        return [f"The C library's headers (stdatomic.h, pthread.h) are missing. To install them: {remedy('compiler')}"]
    include = sysconfig.get_path("include")
    if not compiles("#include <Python.h>\n", f"-I{include}", f"-I{sysconfig.get_path('platinclude')}"):
        return [f"Python.h is missing (looked in {include}). To install it: {remedy('headers')}"]
    return []


def missing_for_venv():
    """What `python -m venv` will not find."""
    try:
        import ensurepip  # noqa: F401 - looked for, not used: Debian ships Python without it
        import venv  # noqa: F401 - looked for, not used
    except ImportError as error:
        return [f"The Python module {error.name!r} is missing. To install it: {remedy('venv')}"]
    return []


def extensions():
    """The extension modules that cffi does not make: the codec."""
    from setuptools import Extension

    return [
        Extension(
            "tablemgr._codec",
            sources=sorted(glob.glob("csrc/codec*.c")),
            include_dirs=["csrc"],
            depends=glob.glob("csrc/*.h"),
            extra_compile_args=CFLAGS,
        )
    ]


def builder():
    """build_ext with the preflight in front; with TABLEMGR_DEV=1, assertions, and warnings as errors, in our C code."""
    from setuptools.command.build_ext import build_ext

    class BuildExt(build_ext):
        def run(self):
            missing = missing_for_build()
            if missing:
                raise SystemExit("tablemgr cannot be built here.\n" + "\n".join(missing))
            super().run()

        def build_extensions(self):
            if os.environ.get("TABLEMGR_DEV") == "1":
                compile_one = self.compiler._compile
                python = ["-isystem", sysconfig.get_path("include")]

                def compile_strictly(obj, src, ext, cc_args, extra_postargs, pp_opts):
                    ours = os.path.dirname(src) == "csrc"
                    extra = [*extra_postargs, *STRICT, *python] if ours else extra_postargs
                    compile_one(obj, src, ext, cc_args, extra, pp_opts)

                self.compiler._compile = compile_strictly
            super().build_extensions()

    return BuildExt


def main():
    """Look, or build."""
    if sys.argv[1:] == ["preflight"]:
        missing = missing_for_build() + missing_for_venv()
        for sentence in missing:
            print(sentence, file=sys.stderr)
        sys.exit(1 if missing else 0)

    from setuptools import setup

    setup(
        ext_modules=extensions(),
        cffi_modules=["tablemgr/_build.py:ffi"],
        cmdclass={"build_ext": builder()},
    )


main()
