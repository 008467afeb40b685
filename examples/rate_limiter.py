"""A rate limiter shared by the workers of a pre-fork web server: a client's limit holds whichever worker answers.

Each client has a token bucket: LIMIT requests at once, and one more every REFILL seconds. The buckets are rows
(client, tokens, time) of one public table. Workers take a token by `compare_and_swap`: if another worker changed the
row meanwhile, they look again, so no two requests ever get the same token. A worker that is killed at any moment has
taken its token or has not.

    python examples/rate_limiter.py [PORT]

serves on PORT (default 8000) with 4 workers until Ctrl-C; try `curl -i localhost:8000` a few times. A worker that
dies is replaced. The table belongs to no worker but to the process that was started, and goes with it.
"""

import http.server
import os
import signal
import socket
import sys
import time

import tablemgr as tm

TABLE = "rate-limits"
LIMIT = 10
REFILL = 1.0  # seconds
WORKERS = 4


def take_token(table: tm.Table, client: str, now: float, limit: int = LIMIT, refill: float = REFILL) -> float | None:
    """Take one of a client's tokens; None if there was one, else the seconds until there is."""
    while True:
        rows = table.lookup(client)
        if not rows:
            if table.insert_new((client, limit - 1, now)):
                return None
            continue  # another worker was the first to see this client
        _, tokens, since = rows[0]
        earned = int((now - since) / refill)
        tokens, since = (limit, now) if tokens + earned >= limit else (tokens + earned, since + earned * refill)
        if tokens < 1:
            return float(since + refill - now)
        if table.compare_and_swap(rows[0], (client, tokens - 1, since)):
            return None


class Handler(http.server.BaseHTTPRequestHandler):
    """200 within the limit, 429 beyond it."""

    table: tm.Table

    def do_GET(self) -> None:  # the base class wants this name
        """Answer with the worker's pid, so that it can be seen that all of them share the limit."""
        wait = take_token(self.table, self.client_address[0], time.monotonic())
        body = f"worker {os.getpid()}\n".encode() if wait is None else b"slow down\n"
        self.send_response(200 if wait is None else 429)
        if wait is not None:
            self.send_header("Retry-After", str(max(1, round(wait))))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def work(listener: socket.socket) -> None:
    """A worker: accept from the socket that all workers share."""
    Handler.table = tm.attach(TABLE)
    server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def main(port: int = 8000) -> int:
    """Serve until SIGINT or SIGTERM."""
    with tm.create(TABLE, access="public") as table, socket.create_server(("localhost", port), backlog=128) as listener:
        children = [tm.Child(f"worker {n}", work, (listener,)) for n in range(WORKERS)]
        with tm.Supervisor(children, max_restarts=10, context="fork") as supervisor:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: supervisor.request_stop())
            print(f"http://localhost:{listener.getsockname()[1]}", flush=True)
            for event in supervisor.events():
                print(event, flush=True)
        table.drop()
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
