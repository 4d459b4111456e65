"""A server on loopback that keeps the webhooks which an emulator sends."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.conformance.emulator import Arrival

# A webhook of many events has some hundred kilobytes.
_BYTES_MAX = 4 * 1024 * 1024


class Arrivals:
    """What has arrived at `url` and the paths below it; every webhook is answered 200."""

    def __init__(self) -> None:
        kept = self._kept = list[Arrival]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _BYTES_MAX))
                headers = {name.lower(): value for name, value in self.headers.items()}
                kept.append(Arrival(self.path.rpartition("/")[2], headers, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self) -> list[Arrival]:
        """Return what has arrived since the last time."""
        taken = self._kept[:]
        del self._kept[: len(taken)]
        return taken

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
