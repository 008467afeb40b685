# SPDX-License-Identifier: Apache-2.0
"""Other processes: a descriptor that tells of the end of one, and how it ended."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct

from tablemgr import _ffi

_PIDFD_INFO = struct.Struct("=QQ11Ii")  # struct pidfd_info of linux/pidfd.h as of its first version
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11
_WITH_EXIT = 1 << 3


def open_pidfd(pid: int, start: int) -> int | None:
    """A descriptor that is readable once this very process is dead; None if it is. Raises OSError if there are none.

    start is in clock ticks since boot. A later process that has the pid by now is not taken for it.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Asked after opening, so the descriptor is of this process or a later one.
    found = _ffi.process_start(pid)
    if found in (start, None):
        return pidfd
    os.close(pidfd)
    if found == 0:  # it may have been the last descriptor, so that there was none for /proc
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return None


def has_ended(pidfd: int) -> bool:
    """Whether the process behind the descriptor is dead.

    Asked twice: the kernel may say so once of one that lives, while a thread of it calls exec (csrc/os_process.c).
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0)) and bool(poll.poll(0))


def exit_status(pid: int, start: int, pidfd: int | None) -> int | None:
    """How a dead process ended, as subprocess says it: its exit status, or minus the number of the signal.

    None if it lives, or where the kernel does not tell: it tells of children of this process, of those that their
    parent has not waited for, and, from Linux 6.15, of all behind a descriptor that was opened before they ended.
    Waits for nobody, and leaves a child to be waited for by whom it concerns.
    """
    if pidfd is not None:
        if not has_ended(pidfd):
            return None
        try:
            result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError:
            result = None  # no child of this process, or waited for
        if result is not None:
            return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
    waited_status = _ffi.process_end(pid, start)
    if waited_status is None and pidfd is not None:
        waited_status = _status_of_reaped(pidfd)
    return None if waited_status is None else os.waitstatus_to_exitcode(waited_status)


def _status_of_reaped(pidfd: int) -> int | None:
    try:
        answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, _PIDFD_INFO.pack(_WITH_EXIT, *(0 for _ in range(12)), 0))
    except OSError:
        return None  # a kernel before 6.13
    mask, *_, code = _PIDFD_INFO.unpack(answer)
    return code if mask & _WITH_EXIT else None
