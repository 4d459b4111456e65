"""The webhooks' door in this process: what a test's runtime takes, and what dies with it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.core.errors import WebhookRejected
from app.runtime.runtime import Runtime
from app.services.webhooks import receive
from app.services.webhooks.receive import PATH_STATUSES, PROVIDER_PATH, Delivery
from tests.scenarios.crashing import Crashed

PREFIX = "/webhooks/"


class Door(ThreadingHTTPServer):
    """Takes webhooks over HTTP with the service that the web process calls; `after_taking` runs before the answer."""

    daemon_threads = True
    runtime: Runtime

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _DoorHandler)
        self.after_taking: Callable[[], None] = lambda: None


class _DoorHandler(BaseHTTPRequestHandler):
    server: Door

    def do_POST(self) -> None:
        """Take one delivery; a process that dies meanwhile answers nothing."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.removeprefix(PREFIX)
        provider_id = None if path in PATH_STATUSES else path
        delivery = Delivery(path if provider_id is None else PROVIDER_PATH, provider_id, headers, body, "127.0.0.1")
        try:
            receive.receive(self.server.runtime, delivery)
            self.server.after_taking()
        except Crashed:
            self.close_connection = True
            return
        except WebhookRejected as rejection:
            self.send_error(rejection.status)
            return
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def open_door(port: int) -> Iterator[Door]:
    """Open a door at the port; its `runtime` is assigned later."""
    with Door(port) as door:
        thread = threading.Thread(target=door.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield door
        finally:
            door.shutdown()
            thread.join()
