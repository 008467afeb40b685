# SPDX-License-Identifier: Apache-2.0
"""Where the clients and the manager of an instance meet: a directory of this user alone, a socket and a lock in it.

The directory is `$XDG_RUNTIME_DIR/tablemgr`, else `/tmp/tablemgr-UID`. It is opened once per use, never through a
symbolic link, checked on the descriptor (owner, mode), and then reached through that descriptor only, so what was
checked is what is used. That also keeps socket paths short, however long the directory's own path is.

Whoever holds the flock on INSTANCE.lock is the manager; the kernel lets go of it when the process dies, whatever kills
it. A socket that nobody listens on is what a SIGKILLed manager left; its successor replaces it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tablemgr.errors import ManagerUnavailableError

START_SECONDS = 20.0  # how long a manager may take to start before its starter gives up
_POLL_SECONDS = 0.01
_NAME_MAX = 64


def directory_path() -> str:
    """The path of the directory, for people; it need not exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        try:
            info = os.stat(runtime)
        except OSError:
            pass
        else:
            if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid():
                return os.path.join(runtime, "tablemgr")
    return f"/tmp/tablemgr-{os.geteuid()}"


@contextmanager
def directory(create: bool = False) -> Iterator[str]:
    """The directory, opened and checked, as a short path that is valid inside the block.

    Raises FileNotFoundError if it is not there (and create is False), ManagerUnavailableError if it is not a directory
    of this user alone: somebody else could listen there in the manager's place.
    """
    path = directory_path()
    if create:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise ManagerUnavailableError(f"cannot make {path} for the manager's socket: {error.strerror}") from error
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        no_directory = error.errno in (errno.ELOOP, errno.ENOTDIR)
        what = "it is a symbolic link or no directory" if no_directory else error.strerror
        raise ManagerUnavailableError(f"will not use {path} for the manager's socket: {what}; remove it") from error
    try:
        info = os.fstat(fd)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            mode = stat.S_IMODE(info.st_mode)
            raise ManagerUnavailableError(
                f"will not use {path} for the manager's socket: it belongs to uid {info.st_uid} with mode {mode:04o}, "
                f"not to uid {os.geteuid()} with 0700; remove it or set XDG_RUNTIME_DIR"
            )
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def file_name(instance: str, suffix: str) -> str:
    """The name of an instance's file in the directory; short enough for a socket address, whatever the instance is."""
    name = quote(instance, safe="").replace(".", "%2E").replace("~", "%7E")
    if len(name) > _NAME_MAX:
        name = "~" + hashlib.sha256(instance.encode()).hexdigest()[: _NAME_MAX - 1]
    return f"{name}.{suffix}"


def connect(instance: str) -> socket.socket | None:
    """A connection to the instance's manager, blocking; None if none runs.

    Raises ManagerUnavailableError if the directory cannot be trusted or the connection is refused for another reason.
    """
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with directory() as path:
            # SO_SNDTIMEO bounds the wait for a place among the pending connections of a manager that is stopped
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(START_SECONDS), 0))
            peer.connect(f"{path}/{file_name(instance, 'sock')}")
            return peer
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
        peer.close()
        return None
    except OSError as error:
        peer.close()
        if isinstance(error, ManagerUnavailableError):
            raise
        raise ManagerUnavailableError(f"cannot reach the manager of instance {instance!r}: {error}") from error
    except BaseException:
        peer.close()
        raise


def listen(instance: str) -> socket.socket:
    """Bind and listen, non-blocking, in one step for everybody else: the name appears when connections are accepted.

    Only for the holder of the lock; a socket that a dead manager left under the name is replaced.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with directory(create=True) as path:
            final, fresh = (f"{path}/{file_name(instance, suffix)}" for suffix in ("sock", "new"))
            Path(fresh).unlink(missing_ok=True)
            listener.bind(fresh)
            os.chmod(fresh, 0o600)
            listener.listen(128)
            os.rename(fresh, final)
    except BaseException:
        listener.close()
        raise
    return listener


def remove_socket(instance: str) -> None:
    """Take the socket's name away; only for the holder of the lock."""
    with directory() as path:
        Path(path, file_name(instance, "sock")).unlink(missing_ok=True)


class FileLock:
    """An exclusive flock on a file of the directory; gone with the process at the latest.

    The file is removed at release, by its holder; an acquirer therefore checks that what it locked still has the name.
    """

    def __init__(self, instance: str, suffix: str) -> None:
        self._name = file_name(instance, suffix)
        self._fd = -1

    def acquire(self) -> bool:
        """Take the lock without waiting; False if somebody else has it. Raises as `directory` does."""
        with directory(create=True) as path:
            while True:
                fd = os.open(f"{path}/{self._name}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_file(fd, f"{path}/{self._name}"):
                        os.ftruncate(fd, 0)
                        os.pwrite(fd, str(os.getpid()).encode(), 0)
                        self._fd = fd
                        _held.add(self)
                        return True
                except BlockingIOError:
                    os.close(fd)
                    return False
                except BaseException:
                    os.close(fd)
                    raise
                os.close(fd)

    def release(self) -> None:
        """Remove the file and let go. Does nothing without the lock."""
        if self._fd < 0:
            return
        try:
            with directory() as path:
                if _is_file(self._fd, f"{path}/{self._name}"):
                    os.unlink(f"{path}/{self._name}")
        except OSError:
            pass  # the directory was taken away: so was the file
        self.forget()

    def forget(self) -> None:
        """Close the descriptor only. Done in every forked child, where it would keep a dead parent's lock alive."""
        _held.discard(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def holder(self) -> str:
        """What the holder wrote about itself, its pid, or "?": for messages."""
        try:
            with directory() as path:
                return Path(path, self._name).read_text()[:20] or "?"
        except OSError:
            return "?"


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)


def _is_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def autostart_allowed() -> bool:
    """Whether a client may start a manager: unless TABLEMGR_AUTOSTART is 0."""
    return os.environ.get("TABLEMGR_AUTOSTART", "1") != "0"


def connect_or_start(instance: str, timeout: float = START_SECONDS) -> socket.socket:
    """A connection to the instance's manager, started if none runs; of several starters at once, one starts it.

    timeout is in seconds. Raises ManagerUnavailableError if there is no manager by then, or why it would not start.
    """
    deadline = time.monotonic() + timeout
    while True:
        peer = connect(instance)
        if peer is not None:
            return peer
        lock = FileLock(instance, "start")
        if lock.acquire():
            try:
                peer = connect(instance)  # another starter may have been done just before
                if peer is not None:
                    return peer
                _start(instance, max(deadline - time.monotonic(), 1.0))
            finally:
                lock.release()
        elif time.monotonic() > deadline:
            raise ManagerUnavailableError(
                f"the manager of instance {instance!r} did not start within {timeout:g} seconds; "
                "see what `tablemgr serve` says"
            )
        else:
            time.sleep(_POLL_SECONDS)


def _start(instance: str, timeout: float) -> None:
    """Run `python -m tablemgr.manager --detach` and wait until it serves. Raises ManagerUnavailableError."""
    if not sys.executable:
        raise ManagerUnavailableError("this interpreter does not know its own path; run `tablemgr serve` yourself")
    package_home = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (package_home, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "tablemgr.manager", f"--instance={instance}", "--detach"]
    starter = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        said, _ = starter.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        starter.kill()
        starter.communicate()
        said = b"it did not say that it was ready in time"
    text = said.decode(errors="replace").strip()
    if text not in ("ready", "running"):
        raise ManagerUnavailableError(
            f"no manager for instance {instance!r}: it was started and ended: {text or 'without a word'}"
        )
