"""Requests as bytes: what no well-behaved client library would send."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
from collections.abc import Iterable


def connect(base_url: str, seconds: float = 20.0) -> socket.socket:
    """Open a connection to the server at `base_url`."""
    parts = urllib.parse.urlsplit(base_url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=seconds)


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read what comes until the server closes; return the status, 0 where it closed without one, and all bytes."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            received += chunk
    head = received.split(b" ", 2)
    return (int(head[1]) if len(head) > 1 and head[0].startswith(b"HTTP/") else 0), received


def build_request(target: str, headers: Iterable[tuple[str, str]], body: bytes = b"", method: str = "POST") -> bytes:
    """Return a request that closes its connection, with every header as it is given, doubled ones too."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def send(base_url: str, request: bytes) -> tuple[int, bytes]:
    """Send the bytes; return the answer's status and all of its bytes."""
    with contextlib.closing(connect(base_url)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return read_answer(connection)
