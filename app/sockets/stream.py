"""An event stream (server-sent events), written straight to the socket like a WebSocket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from werkzeug.http import http_date

from app.services.access import Caller
from app.sockets.connection import Connection
from app.sockets.notification import Notification, encode_stream_event

# Proxies and phones drop silent streams sooner than sockets: half of the usual thirty seconds.
COMMENT_SECONDS = 15.0
COMMENT_FRAME = b": keep-alive\n\n"
# A client of a stream has nothing to say; a little may come from one that pipelines.
READ_BYTES = 4_096


class StreamConnection(Connection):
    """An event stream whose request has been read and whose answer is ours to write."""

    kind = "sse"

    def __init__(self, sock: Any, caller: Caller, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__(sock, caller)
        self._head = encode_head(headers)
        self.next_beat = time.monotonic() + COMMENT_SECONDS

    def frame(self, notification: Notification) -> bytes:
        return notification.stream_frame

    def greet(self, hello: str) -> None:
        # Without an id of its own: the client's last id stays what it has really seen.
        self.send(self._head + encode_stream_event("hello", hello))

    def farewell(self, code: int) -> bytes:
        return encode_stream_event("close", json.dumps({"code": code}))

    def beat(self, now: float) -> None:
        self.next_beat = now + COMMENT_SECONDS
        self.send(COMMENT_FRAME)

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


def encode_head(headers: Iterable[tuple[str, str]]) -> bytes:
    """Returns the head of a stream's answer; its body ends with the connection."""
    fixed = (
        ("Date", http_date()),
        ("Connection", "close"),
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("X-Content-Type-Options", "nosniff"),
    )
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in (*fixed, *headers)), "", ""]
    return "\r\n".join(lines).encode("latin-1")
