"""A closed-loop HTTP/1.1 load generator: one process, one epoll, requests that were made beforehand.

It costs some microseconds a request, so that on a machine with few processors it is the server that is measured.
Run as `python -m bench.load.http_load`: reads {"host", "port", "connections", "seconds", "requests": [base64, ...]}
from standard input and prints {"count", "started", "seconds", "statuses", "milliseconds": {...}}.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from app.local.processes import ROOT
from bench.figures import BenchFailed, latency

# A process that writes answers of this server never needs more for one.
READ_BYTES = 65_536
# Ends a generator whose server has stopped answering (s).
SILENCE_SECONDS = 10.0


class LoadConnection:
    """One kept-alive connection with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.sent_at = time.monotonic()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Read what has come; return the status once the answer is complete. Raise BenchFailed on a close."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise BenchFailed("the server closed a connection")
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        lowered = head.lower()
        index = lowered.find(b"content-length:")
        if index < 0:
            raise BenchFailed(f"an answer without a length: {head[:200]!r}")
        length = int(lowered[index + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return None
        self.buffer = body[length:]
        return int(head[9:12])


def drive(host: str, port: int, requests: Sequence[bytes], connections: int, seconds: float) -> dict[str, Any]:
    """Send `requests` in turn over all connections until they or the seconds end; return what was counted."""
    waiting = deque(requests)
    poller = select.epoll()
    open_connections: dict[int, LoadConnection] = {}
    for _ in range(min(connections, len(waiting))):
        connection = LoadConnection((host, port))
        open_connections[connection.socket.fileno()] = connection
        poller.register(connection.socket, select.EPOLLIN)
    statuses: Counter[int] = Counter()
    milliseconds: list[float] = []
    started, started_cpu = time.monotonic(), time.process_time()
    deadline, under_way = started + seconds, 0
    for connection in open_connections.values():
        connection.send(waiting.popleft())
        under_way += 1
    while under_way:
        events = poller.poll(SILENCE_SECONDS)
        if not events:
            raise BenchFailed("the server does not answer any more")
        for descriptor, _ in events:
            connection = open_connections[descriptor]
            status = connection.receive()
            if status is None:
                continue
            now = time.monotonic()
            statuses[status] += 1
            milliseconds.append((now - connection.sent_at) * 1000)
            under_way -= 1
            if waiting and now < deadline:
                connection.send(waiting.popleft())
                under_way += 1
    elapsed = time.monotonic() - started
    return {
        "count": len(milliseconds),
        # On the monotonic clock, which all processes of a machine share.
        "started": started,
        "seconds": elapsed,
        "cpu_seconds": time.process_time() - started_cpu,
        "statuses": {str(status): count for status, count in statuses.items()},
        "milliseconds": latency(milliseconds),
        "ran_out": not waiting,
    }


def run_load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> dict[str, Any]:
    """Drives the server from a process of its own. Raise BenchFailed where it failed."""
    task = {
        "host": "127.0.0.1",
        "port": port,
        "connections": connections,
        "seconds": seconds,
        "requests": [base64.b64encode(request).decode() for request in requests],
    }
    answer = subprocess.run(
        (sys.executable, "-m", "bench.load.http_load"),
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    if answer.returncode:
        raise BenchFailed(f"the load generator failed: {answer.stderr[-800:]}")
    counted: dict[str, Any] = json.loads(answer.stdout)
    return counted


def main() -> None:
    """Read the task, drives the server, print the counts."""
    task = json.load(sys.stdin)
    requests = [base64.b64decode(request) for request in task["requests"]]
    print(json.dumps(drive(task["host"], task["port"], requests, task["connections"], task["seconds"])))


if __name__ == "__main__":
    main()
