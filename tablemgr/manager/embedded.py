# SPDX-License-Identifier: Apache-2.0
"""`Manager`: a manager inside a program of yours, in a thread, in its event loop, or as all that it does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from tablemgr import segment_names
from tablemgr.mailbox import mailbox

if TYPE_CHECKING:
    from tablemgr.manager.server import Server

_END_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class Manager:
    """The manager of one instance, embedded in this process.

    Use it in one of three ways::

        with tm.Manager() as m: ...          # in a thread of its own, until the block ends
        async with tm.Manager() as m: ...    # in the running event loop
        tm.Manager().serve_forever()         # until SIGTERM or SIGINT, or stop() in another thread

    Starting raises ManagerRunningError if the instance has a manager, ManagerUnavailableError if its directory cannot
    be used. While it runs it is the heir of the instance's tables and hands them to whoever claims them by new_table.
    In an event loop it needs that loop to run: call new_table and its kin from other threads (asyncio.to_thread).
    When it ends, the tables that it holds are orphans: any process may claim them, a later manager finds them.

    Guarantee: it keeps nothing but in the segments, so SIGKILL of this process loses nothing. A forked child is not
    the manager and does not keep the instance from getting a new one.
    """

    def __init__(self, instance: str | None = None) -> None:
        self.instance = segment_names.resolve_instance(instance)
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Manager of instance {self.instance!r}, {'running' if self._server else 'not running'}>"

    def serve_forever(self) -> None:
        """Serve until SIGTERM or SIGINT comes (noticed in the main thread only) or `stop` is called, then return."""
        self.run(lambda: None, exiting=False)

    def run(self, ready: Callable[[], None], *, exiting: bool) -> None:
        """Like `serve_forever`; calls `ready` when it serves and a signal would end it in good order.

        exiting: this process ends when it returns, so the tables that it holds need no further care.
        """
        main_thread = threading.current_thread() is threading.main_thread()
        # From the first connection to the signal handlers, a signal waits: it must not leave the socket behind.
        before = set(signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)) if main_thread else None
        handlers = {number: signal.getsignal(number) for number in _END_SIGNALS}
        try:
            server = self._open(listening=not exiting)
            try:
                asyncio.run(self._serve(server, ready, before))
            finally:
                self._server = self._loop = None
                server.close(exiting)
        finally:
            if before is not None:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        """End it, from any thread; does nothing if it does not run. With a thread of its own: waits for that."""
        server, loop = self._server, self._loop
        if server is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed just now
                loop.call_soon_threadsafe(server.stop)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def __enter__(self) -> Manager:
        server = self._open()
        begun = threading.Event()
        failed: list[BaseException] = []
        taken = threading.Lock()  # by the thread, to serve, or by who gives it up before that
        self._thread = threading.Thread(
            target=self._run_thread,
            args=(server, taken, begun, failed),
            name=f"tablemgr manager {self.instance}",
            daemon=True,
        )
        try:
            self._thread.start()
            begun.wait()
            if failed:
                raise failed[0]
        except BaseException:  # there is no block whose end would stop it
            if taken.acquire(blocking=False):
                self._server = self._thread = None
                server.close()
            else:
                begun.wait()
                self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Manager:
        server = self._open()
        begun = asyncio.Event()
        self._task = asyncio.create_task(self._serve(server, begun.set))
        self._task.add_done_callback(lambda _: begun.set())
        try:
            await begun.wait()
        except BaseException:  # it may serve already, and there is no block whose end would stop it
            await begun.wait()
            await self.__aexit__(None, None, None)
            raise
        if self._task.done():
            await self.__aexit__(None, None, None)  # raises why it does not serve
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, task = self._server, self._task
        assert server is not None
        assert task is not None
        server.stop()
        try:
            await task
        finally:
            self._server = self._loop = self._task = None
            server.close()

    def _open(self, listening: bool = True) -> Server:
        """A server that can be connected to; listening: this process may ask for events, if only later."""
        if self._server is not None:
            raise RuntimeError("this Manager runs already")
        if listening:
            mailbox(self.instance)
        server = self._new_server()
        server.is_client = listening
        server.open()
        self._server = server
        return server

    def _new_server(self) -> Server:
        # Imported here: a program that embeds no manager should not pay for the server at its start.
        from tablemgr.manager.server import Server

        return Server(self.instance)

    async def _serve(self, server: Server, ready: Callable[[], None], signals_before: set[int] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if signals_before is not None:
            for number in _END_SIGNALS:
                self._loop.add_signal_handler(number, server.stop)
            signal.pthread_sigmask(signal.SIG_SETMASK, signals_before)
        self._loop.call_soon(ready)  # runs when the server does
        await server.run()

    def _run_thread(
        self, server: Server, taken: threading.Lock, begun: threading.Event, failed: list[BaseException]
    ) -> None:
        if not taken.acquire(blocking=False):
            return
        serving = self._serve(server, begun.set)
        try:
            asyncio.run(serving)
        except BaseException as error:
            if begun.is_set():
                raise
            serving.close()
            failed.append(error)
        finally:
            self._server = self._loop = None
            server.close()
            begun.set()
