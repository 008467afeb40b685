# SPDX-License-Identifier: Apache-2.0
"""The core's pure functions, called from Python: all of csrc/ but the codec, as a library that exports every function.

core_driver.c adds what ctypes cannot say well. With assertions and UBSan, whose first finding ends the process.
"""

import ctypes
import functools
import hashlib
import os
import subprocess

from tests.c.toolchain import BUILD, CSRC, ROOT, STRICT, compiler, core_sources, release_flags

FLAGS = ["-fvisibility=default", "-fPIC", "-shared", "-UNDEBUG"]
UBSAN = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]


@functools.cache
def core() -> ctypes.CDLL:
    """The library, compiled if anything in csrc/ changed. RuntimeError: what the compiler said."""
    sources = [*core_sources(), ROOT / "tests" / "support" / "core_driver.c"]
    command = [compiler(), *release_flags(), *STRICT, *FLAGS, *UBSAN, f"-I{CSRC}", *map(str, sources), "-pthread"]
    digest = hashlib.sha256("\0".join(command).encode())
    for path in [*sources, *sorted(CSRC.glob("*.h"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    library = BUILD / "library" / f"core-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        partial = library.with_name(f"{library.name}.{os.getpid()}")
        done = subprocess.run([*command, "-o", str(partial)], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        partial.replace(library)
    return ctypes.CDLL(str(library))
