"""A pooler in transaction mode: each transaction of a client may meet another session of the server."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

PORT = 6432  # Only a part of the socket's file name.
SESSIONS = 2  # Two that take turns show all that many would.


@contextlib.contextmanager
def open_pooler(folder: Path, server_socket: Path) -> Iterator[str]:
    """Open a pooler in front of a server's unix socket; yield the query by which a URL names it."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                _serve(self.request, server_socket)

    class PoolerServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 64

    with PoolerServer(str(folder / f".s.PGSQL.{PORT}"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"host={quote(str(folder))}&port={PORT}"
        finally:
            server.shutdown()


def _serve(client: socket.socket, server_socket: Path) -> None:
    startup = _read_exactly(client, 4)
    startup += _read_exactly(client, struct.unpack("!i", startup)[0] - 4)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(SESSIONS)]
        for place, session in enumerate(sessions):
            session.connect(str(server_socket))
            session.sendall(startup)
            _relay(session, client if place == 0 else None)
        turn = 0
        while True:
            kind, message = _read_message(client)
            sessions[turn % SESSIONS].sendall(message)
            if kind == b"X":
                return
            if _relay(sessions[turn % SESSIONS], client) == b"I":
                turn += 1


def _relay(session: socket.socket, client: socket.socket | None) -> bytes:
    """Pass on what the server says until it waits for the next query; return the state of its transaction."""
    while True:
        kind, message = _read_message(session)
        if kind == b"K":
            # A key of the pooler's own: the client's queries are cancelled through it.
            message = kind + struct.pack("!iii", 12, 1, 1)
        if client is not None:
            client.sendall(message)
        if kind == b"Z":
            return message[5:6]


def _read_message(source: socket.socket) -> tuple[bytes, bytes]:
    head = _read_exactly(source, 5)
    return head[:1], head + _read_exactly(source, struct.unpack("!i", head[1:])[0] - 4)


def _read_exactly(source: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        part = source.recv(count - len(read))
        if not part:
            raise ConnectionError
        read += part
    return read
