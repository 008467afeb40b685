# SPDX-License-Identifier: Apache-2.0
"""Where the clients and the manager of an instance meet: a directory of this user alone, a socket and a lock in it.

The directory is `$XDG_RUNTIME_DIR/tablemgr`, else `/tmp/tablemgr-UID`. It is opened once per use, never through a
symbolic link, checked on the descriptor (owner, mode), and then reached through that descriptor only, so what was
checked is what is used. That also keeps socket paths short, however long the directory's own path is.

Whoever holds the flock on INSTANCE.lock is the manager (that there is none with another directory, manager/sole.py sees
to); the kernel lets go of it when the process dies, whatever kills it. A socket that nobody listens on is what a
SIGKILLed manager left; its successor replaces it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from tablemgr.errors import ManagerUnavailableError

START_SECONDS = 20.0  # how long a manager may take to start before its starter gives up
_POLL_SECONDS = 0.01
_LONGEST_WAIT = 1e9  # seconds; what is longer is this
_NAME_MAX = 64
_NOTE_MAX = 64  # bytes of what is in a lock's file
_BACKLOG = 128  # connections that wait to be accepted

FileId: TypeAlias = tuple[int, int]
"""Device and inode number: which file had a name."""


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
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ManagerUnavailableError(
                f"will not use {path} for the manager's socket: it is a symbolic link or no directory; remove it"
            ) from error
        raise ManagerUnavailableError(f"cannot open {path}, where the manager's socket is: {error.strerror}") from error
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
        import hashlib  # not at every start: it brings a library of several megabytes

        name = "~" + hashlib.sha256(instance.encode()).hexdigest()[: _NAME_MAX - 1]
    return f"{name}.{suffix}"


def connect(instance: str, seconds: float = START_SECONDS) -> socket.socket | None:
    """A connection to the instance's manager, blocking; None if none runs.

    seconds: how long to wait for a place among the pending connections of a manager that is stopped, at most. Raises
    ManagerUnavailableError if the directory cannot be trusted or the connection is refused for another reason.
    """
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with directory() as path:
            # connect() waits no longer than a send may; 0 would mean for ever
            whole, part = divmod(int(min(max(seconds, 0.001), _LONGEST_WAIT) * 1e6), 1_000_000)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", whole, part))
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


def listen(instance: str) -> tuple[socket.socket, FileId]:
    """Bind and listen, non-blocking, in one step for everybody else: the name appears when connections are accepted.

    Only for the holder of the lock; a socket that a dead manager left under the name is replaced. Returns the socket,
    and what `remove_socket` needs to know of it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with directory(create=True) as path:
            final, fresh = (f"{path}/{file_name(instance, suffix)}" for suffix in ("sock", "new"))
            Path(fresh).unlink(missing_ok=True)
            listener.bind(fresh)
            os.chmod(fresh, 0o600)
            listener.listen(_BACKLOG)
            made = _file_id(fresh)
            os.rename(fresh, final)
    except BaseException:
        listener.close()
        raise
    return listener, made


def remove_socket(instance: str, made: FileId) -> None:
    """Take the name of the socket that `listen` made away; only for the holder of the lock.

    A socket that has come under the name since is somebody else's: an init system put its own there, for a successor.
    """
    with directory() as path, contextlib.suppress(FileNotFoundError):
        name = f"{path}/{file_name(instance, 'sock')}"
        if _file_id(name) == made:
            os.unlink(name)


def is_gone(path: str, made: FileId) -> bool:
    """Whether nobody can arrive any more at the socket that `listen` made, which then had this path."""
    try:
        return _file_id(path) != made
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # who knows


def check_listener(listener: socket.socket, instance: str) -> None:
    """Raise ManagerUnavailableError unless clients that look for the instance's manager arrive at this socket.

    listener: an open socket that came from elsewhere, by socket activation.
    """
    expected = socket_path(instance)
    if listener.family != socket.AF_UNIX or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ManagerUnavailableError(
            f"the socket that was passed is no Unix stream socket that listens: pass one bound to {expected}"
        )
    name = listener.getsockname()
    bound = os.fsdecode(name) if name else "no name"
    if not bound.startswith("/") or _real(bound) != _real(expected):
        raise ManagerUnavailableError(
            f"the socket that was passed is bound to {bound}, where no client of instance {instance!r} looks for its "
            f"manager: bind it to {expected}"
        )
    with directory():  # that it is this user's alone
        pass


def socket_path(instance: str) -> str:
    """Where the manager of the instance listens, as a path for people and for init systems."""
    return f"{directory_path()}/{file_name(instance, 'sock')}"


def remove_leftovers(instance: str) -> list[str]:
    """Remove the socket and the lock files that a SIGKILL left; returns their paths. Touches nothing that is in use.

    Who takes the lock knows that no manager runs, and a socket that refuses connections has nobody who listens.
    """
    removed: list[str] = []
    try:
        with directory():
            pass
    except FileNotFoundError:
        return removed
    for suffix, with_it in (("start", ()), ("lock", ("new", "sock"))):
        removed += _remove_unused(instance, suffix, with_it)
    return removed


def _remove_unused(instance: str, suffix: str, with_it: Sequence[str]) -> list[str]:
    """The lock file, and the files that are its holder's to make, unless somebody holds or uses them."""
    removed: list[str] = []
    lock = FileLock(instance, suffix)
    with directory() as path:
        names = {name: f"{path}/{file_name(instance, name)}" for name in (suffix, *with_it)}
        there = {name for name, file in names.items() if os.path.lexists(file)}
        if not there or not lock.acquire():
            return removed
        lock.note("")
        try:
            for name in with_it:
                if name in there and not _is_listening(names[name]):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(names[name])
                        removed.append(f"{directory_path()}/{file_name(instance, name)}")
        finally:
            lock.release()
    if suffix in there:
        removed.append(f"{directory_path()}/{file_name(instance, suffix)}")
    return removed


def _is_listening(path: str) -> bool:
    """Whether anybody listens on the socket: a manager, or an init system on behalf of one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # and its queue is full
        except OSError:
            return False
    return True


def _file_id(path: str) -> FileId:
    info = os.stat(path, follow_symlinks=False)
    return info.st_dev, info.st_ino


def _real(path: str) -> str:
    """The path with its directory's symbolic links followed."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


class FileLock:
    """An exclusive flock on a file of the directory; gone with the process at the latest.

    The file is removed at release, by its holder, if no word is left in it; an acquirer therefore checks that what it
    locked still has the name.
    """

    def __init__(self, instance: str, suffix: str) -> None:
        self._name = file_name(instance, suffix)
        self._fd = -1
        self.left = ""  # what the holder before had noted last; known once it is acquired
        self._noted = ""

    def acquire(self) -> bool:
        """Take the lock without waiting; False if somebody else has it. Raises as `directory` does."""
        with directory(create=True) as path, taking:
            while True:
                fd = os.open(f"{path}/{self._name}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_file(fd, f"{path}/{self._name}"):
                        self.left = os.pread(fd, _NOTE_MAX, 0).decode("ascii", "replace").partition(" ")[2]
                        self._fd = fd
                        _held.add(self)
                        self.note(self.left)
                        return True
                except BlockingIOError:
                    os.close(fd)
                    return False
                except BaseException:
                    os.close(fd)
                    raise
                os.close(fd)

    def note(self, text: str) -> None:
        """Leave word for who has the lock next, in whatever way this process lets go. Does nothing without the lock.

        What the holder before had noted counts until then. Never fails: on a full disk the word is lost, not the lock.
        """
        if self._fd < 0:
            return
        self._noted = text
        content = f"{os.getpid()} {text}".encode("ascii")
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, content, 0)
            os.ftruncate(self._fd, len(content))

    def release(self) -> None:
        """Let go, and remove the file unless there is word in it for who comes next. Does nothing without the lock."""
        if self._fd < 0:
            return
        if self._noted:
            self.forget()
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
                return Path(path, self._name).read_text()[:_NOTE_MAX].partition(" ")[0] or "?"
        except OSError:
            return "?"


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()
taking = threading.RLock()  # held while there is a descriptor that a child must not have and no fork hook can find yet


def _forget_all() -> None:
    taking.release()
    for lock in list(_held):
        lock.forget()


os.register_at_fork(before=taking.acquire, after_in_parent=taking.release, after_in_child=_forget_all)


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
        if time.monotonic() > deadline:
            raise ManagerUnavailableError(
                f"the manager of instance {instance!r} did not start within {timeout:g} seconds; "
                "see what `tablemgr serve` says"
            )
        lock = FileLock(instance, "start")
        if lock.acquire():
            try:
                peer = connect(instance)  # another starter may have been done just before
                if peer is not None:
                    return peer
                _start(instance, max(deadline - time.monotonic(), 1.0))
            finally:
                lock.release()
        else:
            time.sleep(_POLL_SECONDS)


def package_env() -> dict[str, str]:
    """The environment of a process that is to import this package, wherever it was imported from here."""
    package_home = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (package_home, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def _start(instance: str, timeout: float) -> None:
    """Run `python -m tablemgr.manager --detach` and wait until it serves. Raises ManagerUnavailableError."""
    if not sys.executable:
        raise ManagerUnavailableError("this interpreter does not know its own path; run `tablemgr serve` yourself")
    command = [sys.executable, "-m", "tablemgr.manager", f"--instance={instance}", "--detach"]
    starter = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=package_env(),
        start_new_session=True,
    )
    try:
        said, _ = starter.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(starter.pid, signal.SIGKILL)  # the manager too, which is not our child, and holds the pipe
        starter.communicate()
        said = b"it did not say that it was ready in time"
    text = said.decode(errors="replace").strip()
    if not {"ready", "running"} & set(text.splitlines()):  # a line of its own, among what it warned of on its way
        raise ManagerUnavailableError(
            f"no manager for instance {instance!r}: it was started and ended: {text or 'without a word'}"
        )
