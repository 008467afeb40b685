"""A counter service that cannot lose a count, whatever is killed.

A worker process owns the table "counters" and serves requests on a Unix socket: "add N to counter X, this is my request
number R". A supervisor runs the worker again when it dies, and hands it the table before it serves. A client that lost
its connection repeats the request; because the counter and the number of the client's last request stand in one row,
written by one insert, a request is counted exactly once: neither lost nor counted twice.

    python examples/counter_service.py [REQUESTS] [KILLS]

sends at least REQUESTS increments (default 2000) while it SIGKILLs the worker KILLS times (default 5), then compares
the counter with the number of increments. Exit code 0 if they are equal.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.synchronize import Event
from pathlib import Path

import tablemgr as tm

TABLE = "counters"


def add(table: tm.Table, counter: str, number: int, client: str, request: int) -> int:
    """Add to a counter unless this request, or a later one of this client, was carried out before; the new value."""
    rows = table.lookup(counter)
    value, seen = rows[0][1:] if rows else (0, {})
    if seen.get(client, 0) < request:
        value += number
        table.insert((counter, value, {**seen, client: request}))  # one row, one step: both or neither
    return int(value)


def serve(path: str, tables: dict[str, tm.Table]) -> None:
    """The worker: one thread per connection, one request at a time."""
    Path(path).unlink(missing_ok=True)  # what a killed predecessor left
    one_at_a_time = threading.Lock()

    def talk(connection: Connection) -> None:
        with connection:
            while True:
                try:
                    counter, number, client, request = connection.recv()
                except (EOFError, OSError):
                    return
                with one_at_a_time:
                    answer = add(tables[TABLE], counter, number, client, request)
                connection.send(answer)

    with Listener(path, "AF_UNIX") as listener:
        while True:
            threading.Thread(target=talk, args=(listener.accept(),), daemon=True).start()


class CounterClient:
    """Asks the service, and asks again until it has an answer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = f"client {os.getpid()}"
        self._request = 0
        self._connection: Connection | None = None

    def add(self, counter: str, number: int = 1) -> int:
        """Add to a counter, exactly once; its new value."""
        self._request += 1
        while True:
            try:
                if self._connection is None:
                    self._connection = Client(self._path, "AF_UNIX")
                self._connection.send((counter, number, self._name, self._request))
                return int(self._connection.recv())
            except (EOFError, OSError):
                self._connection = None  # the service died; it will be back
                time.sleep(0.001)


def count(path: str, requests: int, enough: Event, sent: Connection) -> None:
    """The client process: one request after the other, so many at least, and on until it is enough; says how many."""
    client = CounterClient(path)
    n = 0
    while n < requests or not enough.is_set():
        n += 1
        assert client.add("visits") == n, "a request was lost or counted twice"
    sent.send(n)


def report(event: object) -> None:
    """What happens to the worker, in words."""
    if isinstance(event, tm.ChildExited) and event.exit == -signal.SIGKILL:
        print(f"process {event.process.pid} was killed")
    elif isinstance(event, tm.TableHandedBack) and event.latency is not None:
        print(f"  its successor had the table after {event.latency * 1000:.1f} ms")


def main(requests: int = 2000, kills: int = 5) -> int:
    """Count under fire; 0 if every request was counted once."""
    killed, in_hand = 0, True
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "counter.sock")
        worker = tm.Child("counter", serve, (path,), tables={TABLE: {"access": "public"}})
        with tm.Supervisor([worker], max_restarts=kills) as supervisor:
            next(event for event in supervisor.events() if isinstance(event, tm.TableHandedBack))
            enough = multiprocessing.Event()
            receive, send = multiprocessing.Pipe(duplex=False)
            client = multiprocessing.Process(target=count, args=(path, requests, enough, send))
            client.start()
            send.close()
            with tm.attach(TABLE) as table:
                while client.is_alive():
                    for event in supervisor.events(timeout=0.005):
                        report(event)
                        in_hand = in_hand or isinstance(event, tm.TableHandedBack)
                    target = requests * (killed + 1) // (kills + 1)
                    if in_hand and killed == kills:
                        enough.set()
                    elif in_hand and table.lookup_element("visits", 1, 0) >= target:
                        os.kill(supervisor.processes()["counter"].pid, signal.SIGKILL)
                        killed += 1
                        in_hand = False
                sent = receive.recv() if receive.poll() else -1
                counted = table.lookup_element("visits", 1)
        tm.drop(TABLE, force=True)  # this process is not its owner
    print(f"{sent} requests, {killed} kills, counter at {counted}")
    return 0 if counted == sent else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
