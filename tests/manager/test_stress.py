"""Many threads at one client, while the manager is killed: every call ends, and what it ends with makes sense."""

import contextlib
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

import tablemgr as tm
from tablemgr import Client
from tests.support.soak import generator

from .support import TIMEOUT, eventually

THREADS = 8
CALLS = 40  # per thread
KILLS = 3

EXPECTED = (tm.TableNotFoundError, tm.TableClosedError, tm.TableExistsError, tm.TableMismatchError, tm.NotOwnerError)


class Crowd:
    """Threads that do random things to tables that they share, by one client and by handles that they share, too."""

    def __init__(self, client: Client, seed: int) -> None:
        self.client = client
        self.seed = seed
        self.calls = 0
        self._handles: dict[str, tm.Table] = {}

    def run(self, number: int) -> None:
        """One thread's share."""
        choose = random.Random(f"{self.seed} {number}")
        for n in range(CALLS):
            name = choose.choice(("a", "b", "c", f"own {number}"))
            with contextlib.suppress(*EXPECTED):
                self._call(choose, name, (number, n))
            self.calls += 1  # a lost count does no harm

    def wait_for(self, calls: int) -> None:
        """Return when the threads have made so many calls in all."""
        eventually(lambda: self.calls > calls)

    def _call(self, choose: random.Random, name: str, row: tuple[int, int]) -> None:
        what = choose.randrange(10)
        if what < 4:
            self._handles[name] = self.client.new_table(name, access="public", wait=choose.choice((0.0, 0.05, None)))
        elif what == 4:
            self._handles[name] = tm.attach(name)
        elif what == 5:
            self.client.add_table(tm.create(name, access="public", heir="manager"))
        elif what == 6:
            self.client.info()
        elif name in self._handles:
            handle = self._handles[name]
            handle.insert((row, "value"))
            assert handle.lookup(row) in ([(row, "value")], [])
            (handle.close, handle.drop, lambda: self.client.del_table(handle))[what - 7]()


def kill_manager(client: Client) -> None:
    """SIGKILL to whoever serves the instance; the next call that needs a manager starts another."""
    manager = eventually(lambda: client.info().manager)
    os.kill(manager.pid, signal.SIGKILL)


@pytest.mark.parametrize("salt", range(4))
def test_every_call_of_many_threads_ends(instance: str, salt: int) -> None:
    """new_table, attach, close, drop and the rest, while the manager is killed and started on demand."""
    crowd = Crowd(Client(autostart=True), generator(salt).randrange(2**32))
    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(crowd.run, number) for number in range(THREADS)]
        for kill in range(1, KILLS + 1):
            crowd.wait_for(kill * THREADS * CALLS // (KILLS + 2))
            kill_manager(crowd.client)
        for thread in threads:
            thread.result(TIMEOUT)
    crowd.client.close()
