# SPDX-License-Identifier: Apache-2.0
"""A file that takes another one's place when it is complete, or never: `replacing`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_NO_TMPFILE: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends, after everything is on the disk.

    An exception in the block leaves what was there. So does SIGKILL, and nothing else either, where the file system has
    files without a name (O_TMPFILE: nearly all; elsewhere a file `.NAME.XXXXXXXX` may be left).
    """
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file, so it cannot be replaced", str(target))
    temporary = f".{target.name[:100]}.{os.urandom(4).hex()}"
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor, is_named = _temporary_file(directory, temporary)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                yield file
                file.flush()
                os.fsync(descriptor)
                if not is_named:
                    # The descriptor of the directory makes this linkat(), which follows the link that /proc has.
                    os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=directory, dst_dir_fd=directory)
                    is_named = True
            os.replace(temporary, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            if is_named:
                os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


def _temporary_file(directory: int, name: str) -> tuple[int, bool]:
    """A file in the directory, open for writing, and whether it has the name: better it has none."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(".", os.O_TMPFILE | flags, 0o600, dir_fd=directory), False
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    return os.open(name, os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=directory), True
