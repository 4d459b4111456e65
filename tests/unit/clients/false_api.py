"""A small HTTP server that answers the clients as a test says."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer; `body` None closes the connection without one."""

    status: int = 200
    body: bytes | None = b'{"id": "p1"}'
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FalseApi:
    """Gives the answers in their order, the last one again and again, and keeps each request."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[Asked] = []
        left = list(answers) or [Answer()]
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.asked.append(Asked(self.command, self.path, headers, json.loads(text) if text else None))
                answer = left.pop(0) if len(left) > 1 else left[0]
                self.close_connection = True
                if answer.body is None:
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def problem(status: int, code: str, **headers: str) -> Answer:
    """Return an error as the API answers it."""
    document = {"title": "Refused", "status": status, "detail": "Why.", "code": code, "request_id": "r-7", "errors": []}
    return Answer(status, json.dumps(document).encode(), headers)
