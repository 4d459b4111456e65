"""A proxy on loopback between an adapter and its emulator, which spoils the answers that a case wants spoiled.

So a case can demand of every emulator what networks and providers do to answers, and sees what the adapter sent.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

# An emulator on this machine answers at once; the rest is for a machine under load.
_ANSWER_SECONDS = 20.0
# From one drop of an answer to the next.
_DRIP_SECONDS = 0.5
# Headers that belong to one connection, or that the proxy makes itself.
_OWN_HEADERS = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What the adapter gets in place of the provider's answer.

    `has_effect`: the provider has acted. `status` replaces the answer by one with `body`; without it the provider's own
    comes, with `change` (a path with dots, and its value) in its JSON and `padding` bytes after it, or with a `page` of
    HTML in place of its body. `ending`: all of it, nothing (the connection is closed), half of it, or drop by drop,
    which takes `drip_seconds`. Unless it `spoils_reads`, it waits for a call that is no GET.
    """

    has_effect: bool = True
    status: int | None = None
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    change: Mapping[str, object] = field(default_factory=dict)
    padding: int = 0
    page: bytes | None = None
    ending: Literal["whole", "nothing", "half", "drip"] = "whole"
    drip_seconds: float = 0.0
    spoils_reads: bool = True


@dataclass(frozen=True, slots=True)
class SentCall:
    """A request that the adapter sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class FaultyProxy:
    """Forwards to the server of `target` and keeps what was sent; `side_paths` are neither spoiled nor kept."""

    def __init__(self, target: str, side_paths: tuple[str, ...] = ()) -> None:
        self._target = urllib.parse.urlsplit(target)
        self._side_paths = side_paths
        self._faults: list[Fault] = []
        self.sent: list[SentCall] = []
        self._server = _Server(self)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}{self._target.path}"

    def spoil(self, *faults: Fault) -> None:
        """Spoil the answers of the next requests, each with one of the faults, in their order."""
        self._faults += faults

    def heal(self) -> None:
        """Spoil no further answer."""
        self._faults.clear()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, call: SentCall) -> tuple[int, Mapping[str, str], bytes, Fault]:
        """Return the answer to a call with the fault that shapes how it is sent."""
        is_side = call.path.removeprefix(self._target.path).startswith(self._side_paths or "\0")
        if not is_side:
            self.sent.append(call)
        is_spared = is_side or not self._faults or (call.method == "GET" and not self._faults[0].spoils_reads)
        fault = Fault() if is_spared else self._faults.pop(0)
        status, headers, body = self._forward(call) if fault.has_effect else (204, {}, b"")
        if fault.status is not None:
            return fault.status, {"Content-Type": "application/json", **fault.headers}, fault.body, fault
        if fault.page is not None:
            return status, {"Content-Type": "text/html"}, fault.page, fault
        if fault.change:
            body = json.dumps(_replace(json.loads(body), fault.change)).encode()
        return status, {**headers, **fault.headers}, body + b" " * fault.padding, fault

    def _forward(self, call: SentCall) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self._target.netloc, timeout=_ANSWER_SECONDS)
        with contextlib.closing(connection):
            kept = {name: value for name, value in call.headers.items() if name.lower() not in _OWN_HEADERS}
            connection.request(call.method, call.path, call.body or None, kept)
            answer = connection.getresponse()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN_HEADERS}
            return answer.status, headers, answer.read()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: adapters end connections in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second would wait for the acknowledgement of the first.
    disable_nagle_algorithm = True
    server: _Server

    def handle_call(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = SentCall(self.command, self.path, dict(self.headers.items()), body)
        status, headers, content, fault = self.server.proxy.answer(call)
        self.close_connection = self.close_connection or fault.ending != "whole"
        if fault.ending == "nothing":
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        drips = int(fault.drip_seconds / _DRIP_SECONDS)
        self.send_header("Content-Length", str(max(len(content), drips)))
        self.end_headers()
        if fault.ending == "drip":
            self._drip(drips)
        else:
            self.wfile.write(content[: len(content) // 2] if fault.ending == "half" else content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_call

    def _drip(self, drips: int) -> None:
        for _ in range(drips):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(_DRIP_SECONDS)

    def log_message(self, *_: object) -> None:
        pass


def _replace(document: Any, changes: Mapping[str, object]) -> Any:
    """Set each value at its path; a list is entered by its first element."""
    for path, value in changes.items():
        *way, last = path.split(".")
        target = _enter(document)
        for step in way:
            target = _enter(target.setdefault(step, {}))
        target[last] = value
    return document


def _enter(value: Any) -> Any:
    while isinstance(value, list) and value:
        value = value[0]
    return value
