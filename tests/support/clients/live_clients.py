"""WebSockets and event streams of a sockets process, whose reads wait for messages and not for time."""

from __future__ import annotations

import json
from typing import Any

import requests
import websocket

from testbed.stack import Stack


class SocketClient:
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


class StreamClient:
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


class LiveClients:
    """Opens connections to a stack's sockets process, and closes those that a test leaves open."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._opened: list[Any] = []

    def connect(self, token: str, after: int | None = None, **options: Any) -> SocketClient:
        """Open a WebSocket. Raise websocket.WebSocketBadStatusException where it is refused."""
        query = "" if after is None else f"?after={after}"
        options.setdefault("subprotocols", ["sluice.v1", f"sluice.token.{token}"])
        options.setdefault("suppress_origin", "origin" not in options)
        url = f"ws://127.0.0.1:{self._stack.ports.sockets}/ws{query}"
        sock = websocket.create_connection(url, timeout=10, **options)
        self._opened.append(sock)
        return SocketClient(sock)

    def refusal(self, token: str, after: int | None = None, **options: Any) -> tuple[int, dict[str, Any]]:
        """Return status and problem of a WebSocket that must be refused."""
        try:
            self.connect(token, after, **options)
        except websocket.WebSocketBadStatusException as error:
            return int(error.status_code), json.loads(error.resp_body or b"{}")
        raise AssertionError("the socket was accepted")

    def stream(self, token: str = "", query: str = "", **headers: str) -> StreamClient:
        """Open an event stream, refused or not."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = f"{self._stack.sockets}/api/stream{query}"
        answer = requests.get(url, headers=headers, stream=True, timeout=10)
        self._opened.append(answer)
        return StreamClient(answer)

    def is_ready(self) -> bool:
        """Return whether the process answers and is subscribed to hints."""
        assert self._stack.running["sockets"].poll() is None, "the sockets process has ended"
        try:
            answer = requests.get(f"{self._stack.sockets}/health/ready", timeout=2)
        except requests.RequestException:
            return False
        return answer.status_code == 200 and answer.json()["status"] == "ok"

    def metrics(self) -> str:
        """Return what the process serves to Prometheus."""
        port = self._stack.environment["SLUICE_METRICS_PORT"]
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text

    def close(self) -> None:
        """Close what was left open."""
        for opened in self._opened:
            # Without the closing handshake, for which a process that was stopped would be waited for.
            getattr(opened, "shutdown", opened.close)()
        self._opened.clear()
