"""An HTTP server on loopback that receives webhooks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from testbed.waiting import wait_until


@dataclass
class Received:
    """One webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class WebhookReceiver:
    """An HTTP server on loopback that keeps what it gets and answers as `answer` says."""

    answer: Callable[[Received], int] = lambda received: 200
    received: list[Received] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer_body: bytes = b""

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                webhook = Received(self.path, headers, body, time.monotonic())
                receiver.received.append(webhook)
                try:
                    self.send_response(receiver.answer(webhook))
                    self.send_header("Location", "/redirected")
                    for name, value in receiver.answer_headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(receiver.answer_body)))
                    self.end_headers()
                    self.wfile.write(receiver.answer_body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def wait_for(self, count: int, seconds: float = 15.0) -> list[Received]:
        """Return what arrived once it is at least `count` webhooks."""
        return wait_until(
            lambda: self.received[:] if len(self.received) >= count else None, f"{count} webhooks", seconds
        )

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
