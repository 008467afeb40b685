"""Describes the compiled module tablemgr._core to cffi: all of csrc/ but the Python codec (codec*.c), in one header.

Run by setup.py, never imported by the package. The declarations are the marked region of csrc/tablemgr.h as it stands,
so there is no second copy of them to keep in step.
"""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
COMPILE_ARGS = ["-O2", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-pthread", "-DNDEBUG"]


def declarations() -> str:
    """The region between the two cdef marks of the public header."""
    text = (CSRC / "tablemgr.h").read_text(encoding="utf-8")
    return text.split("/* cdef begins */")[1].split("/* cdef ends */")[0]


def sources() -> list[str]:
    """Every C file of the core, relative to the project as setuptools wants them."""
    return sorted(f"csrc/{path.name}" for path in CSRC.glob("*.c") if not path.name.startswith("codec"))


# The callback by which tmgr_check reports; extern "Python" is cffi's own syntax, so it is not in the header.
CALLBACK = 'extern "Python" void tablemgr_problem(void *context, const char *problem);'

ffi = FFI()
ffi.cdef(declarations())
ffi.cdef(CALLBACK)
ffi.set_source(
    "tablemgr._core",
    '#include "tablemgr.h"\n',
    sources=sources(),
    include_dirs=["csrc"],
    depends=sorted(f"csrc/{path.name}" for path in CSRC.glob("*.h")),
    extra_compile_args=COMPILE_ARGS,
    extra_link_args=["-pthread"],
    py_limited_api=False,
)
