"""Clients of live connections that wait for messages and conditions, not for time."""

from __future__ import annotations

import json
from typing import Any

import requests
import websocket


class Client:
    """A WebSocket that reads JSON messages."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock

    def read(self, seconds: float = 10.0) -> dict[str, Any]:
        """Return the next message. Raise websocket.WebSocketTimeoutException where none comes."""
        self.sock.settimeout(seconds)
        message: dict[str, Any] = json.loads(self.sock.recv())
        return message

    def ids(self, count: int, seconds: float = 10.0) -> list[int]:
        """Return the ids of the next messages."""
        return [self.read(seconds)["id"] for _ in range(count)]

    def close_code(self, seconds: float = 10.0) -> int:
        """Read until the close frame; return its code."""
        self.sock.settimeout(seconds)
        while True:
            opcode, data = self.sock.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big")


class Stream:
    """An event stream, read event by event."""

    def __init__(self, answer: requests.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines(decode_unicode=True)

    def read(self) -> dict[str, str]:
        """Return the next event's fields; {} at the stream's end."""
        event: dict[str, str] = {}
        for line in self._lines:
            if not line and event:
                return event
            name, _, value = line.partition(": ")
            if name:
                event[name] = value
        return event
