"""Ten thousand browsers in some hundred bytes each: WebSockets on one epoll, in a process of their own.

Run as `python -m bench.load.socket_clients`: the first line of standard input is {"port", "tokens": [...]}; it prints
{"refused", "seconds", "cpu_seconds"} once all are open. For each further line it waits until every socket has got one
more message and prints the arrival times on the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

from app.local.processes import ROOT
from app.sockets.admission import PROTOCOL, TOKEN_PROTOCOL
from app.sockets.connection import TRY_AGAIN
from bench.figures import BenchFailed

# So many handshakes are under way at once: a crowd that comes back after a restart, not one that queues politely.
HANDSHAKES = 50
READ_BYTES = 65_536
SILENCE_SECONDS = 60.0
# RFC 6455, section 5.2.
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class _AskedBack(Exception):
    """The server is too busy for this client just now: 503 with Retry-After, or 1013 in place of the greeting."""


class Browser:
    """One WebSocket: raw bytes in, texts out."""

    def __init__(self, port: int, token: str) -> None:
        self.token = token
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.upgraded = False
        self.greeted = False
        self._buffer = b""
        self.socket.sendall(
            (
                f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: {PROTOCOL}, {TOKEN_PROTOCOL}{token}\r\n\r\n"
            ).encode()
        )

    def receive(self) -> list[bytes]:
        """Read what has come; return the texts in it. Raise BenchFailed on a refusal or a close."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise BenchFailed("the server closed a socket")
        self._buffer += data
        if not self.upgraded:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return []
            if head.startswith(b"HTTP/1.1 503"):
                raise _AskedBack
            if not head.startswith(b"HTTP/1.1 101"):
                raise BenchFailed(f"a socket was refused: {head.splitlines()[0]!r} {rest[-200:]!r}")
            self.upgraded, self._buffer = True, rest
        texts = [payload for opcode, payload in self._frames() if self._answer(opcode, payload) == TEXT]
        self.greeted = self.greeted or bool(texts)
        return texts

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Take whole frames off the buffer; a server's frames are not masked."""
        while len(self._buffer) >= 2:
            length, start = self._buffer[1] & 0x7F, 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(self._buffer[2:start], "big")
            if len(self._buffer) < start + length:
                return
            opcode, payload = self._buffer[0] & 0x0F, self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            yield opcode, payload

    def _answer(self, opcode: int, payload: bytes) -> int:
        if opcode == PING:
            # Masked with zeros, which is a mask like any other.
            self.socket.sendall(bytes([0x80 | PONG, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        elif opcode == CLOSE:
            if not self.greeted and int.from_bytes(payload[:2], "big") == TRY_AGAIN:
                raise _AskedBack
            raise BenchFailed(f"the server closed a socket with {int.from_bytes(payload[:2], 'big')}")
        return opcode


class Crowd:
    """The sockets of this process."""

    def __init__(self) -> None:
        self._browsers: dict[int, Browser] = {}
        self._poller = select.epoll()
        self._asked_back: list[str] = []
        self.refused = 0

    def open(self, port: int, tokens: list[str]) -> None:
        """Open a socket for each token and read its hello, HANDSHAKES at a time; who is asked back comes back."""
        waiting, greeted, under_way = list(tokens), 0, 0
        while greeted < len(tokens):
            while waiting and under_way < HANDSHAKES:
                browser = Browser(port, waiting.pop())
                self._browsers[browser.socket.fileno()] = browser
                self._poller.register(browser.socket, select.EPOLLIN)
                under_way += 1
            heard = sum(1 for _ in self._listen())
            again, self._asked_back = self._asked_back, []
            waiting[:0] = again
            greeted, under_way = greeted + heard, under_way - heard - len(again)

    def arrivals(self) -> list[float]:
        """Wait until every socket has got one message; return when each came."""
        times: list[float] = []
        while len(times) < len(self._browsers):
            times.extend(self._listen())
        return times

    def _listen(self) -> Iterator[float]:
        events = self._poller.poll(SILENCE_SECONDS)
        if not events:
            raise BenchFailed("nothing arrives any more")
        for descriptor, _ in events:
            try:
                texts = self._browsers[descriptor].receive()
            except _AskedBack:
                browser = self._browsers.pop(descriptor)
                self._poller.unregister(descriptor)
                browser.socket.close()
                self._asked_back.append(browser.token)
                self.refused += 1
                continue
            now = time.monotonic()
            yield from (now for _ in texts)


class CrowdProcess:
    """A crowd in a process of its own."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "bench.load.socket_clients"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._write(json.dumps({"port": port, "tokens": tokens}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def expect(self) -> None:
        """Ask for the arrival times of the next message."""
        self._write("next")

    def read(self) -> Any:
        """Return what the process says next. Raise BenchFailed where it has ended."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"the socket clients ended with {self._process.wait()}")
        return json.loads(line)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def main() -> None:
    """Open the sockets, then answer each line with the arrival times of one message."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    task = json.loads(sys.stdin.readline())
    crowd, started, started_cpu = Crowd(), time.monotonic(), time.process_time()
    crowd.open(task["port"], task["tokens"])
    told = {"refused": crowd.refused, "seconds": time.monotonic() - started}
    print(json.dumps({**told, "cpu_seconds": time.process_time() - started_cpu}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(crowd.arrivals()), flush=True)


if __name__ == "__main__":
    main()
