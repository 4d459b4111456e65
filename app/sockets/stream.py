"""An event stream (server-sent events), written to the socket directly like a WebSocket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from werkzeug.http import http_date

from app.services.access.callers import Caller
from app.sockets.connection import LiveConnection
from app.sockets.notification import Notification, encode_chunk, encode_stream_event

# Proxies and phones drop silent streams sooner than sockets: half of the usual limit of thirty seconds.
COMMENT_SECONDS = 15.0
COMMENT_FRAME = b": keep-alive\n\n"
LAST_CHUNK = b"0\r\n\r\n"
# A client of a stream sends no data; one that pipelines may send a little.
READ_BYTES = 4_096


class StreamConnection(LiveConnection):
    """An event stream whose request has been read and whose response is written here."""

    kind = "sse"

    def __init__(self, sock: Any, caller: Caller, headers: Iterable[tuple[str, str]], *, is_chunked: bool) -> None:
        super().__init__(sock, caller)
        # Clients that read a body in blocks, such as requests, delay events until a block is full; a chunk is passed on
        # at once.
        self._is_chunked = is_chunked
        self._head = encode_head(headers, is_chunked=is_chunked)
        self.next_beat = time.monotonic() + COMMENT_SECONDS

    def frame(self, notification: Notification) -> bytes:
        return notification.stream_chunk if self._is_chunked else notification.stream_event

    def greet(self, hello: str) -> None:
        # Without an id: the client's last id stays that of the last notification it received.
        self.send(self._head + self._body(encode_stream_event("hello", hello)))

    def farewell(self, code: int) -> bytes:
        event = self._body(encode_stream_event("close", json.dumps({"code": code})))
        return event + LAST_CHUNK if self._is_chunked else event

    def _body(self, data: bytes) -> bytes:
        return encode_chunk(data) if self._is_chunked else data

    def beat(self, now: float) -> None:
        self.next_beat = now + COMMENT_SECONDS
        self.send(self._body(COMMENT_FRAME))

    def read(self) -> None:
        received = 0
        while not self.closed:
            try:
                count = len(self.sock.recv(READ_BYTES))
            except OSError:
                return
            received += count
            if not count or received > READ_BYTES:
                return


def encode_head(headers: Iterable[tuple[str, str]], *, is_chunked: bool) -> bytes:
    """Return the head of a stream's response; its body is chunked, or ends with the connection (HTTP/1.0)."""
    fixed = (
        *([("Transfer-Encoding", "chunked")] if is_chunked else []),
        ("Date", http_date()),
        ("Connection", "close"),
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("X-Content-Type-Options", "nosniff"),
    )
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in (*fixed, *headers)), "", ""]
    return "\r\n".join(lines).encode("latin-1")
