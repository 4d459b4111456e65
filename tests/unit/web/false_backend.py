"""A small HTTP and WebSocket server that the client module talks to in its tests."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue
from socket import SHUT_RDWR
from typing import Any, NoReturn

from flask import Flask, Response, jsonify, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed
from werkzeug.serving import make_server

from testbed.waiting import DEADLINE_SECONDS
from tests.support.repository import ROOT

STATIC = ROOT / "app" / "web" / "static"


class Backend:
    """What the module talks to: it follows the public contract, remembers each request and misbehaves on demand."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.deposit_answers: list[Callable[[], Response | tuple[Response, int]]] = []
        self.sockets: list[tuple[str | None, list[str], Queue[Any]]] = []
        self.streams: list[tuple[str | None, str | None, Queue[Any]]] = []
        self.ticket_answers: list[Callable[[], Response | tuple[Response, int]]] = []
        self.sockets_url: str | None = None
        self.refuse_sockets = False
        self.hello: dict[str, Any] = {}
        self.missed: list[dict[str, Any]] = []
        self.good_tokens: set[str] | None = None
        self._tickets = 0
        self._server = make_server("127.0.0.1", 0, self._application(), threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # The server checks this often (s) whether to stop, and each test waits for that.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        for *_, queue in [*self.sockets, *self.streams]:
            queue.put(None)
        self._server.shutdown()

    def _application(self) -> Flask:
        app = Flask("backend", static_folder=str(STATIC), static_url_path="/static")
        app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["sluice.v1"]}
        app.config["PROPAGATE_EXCEPTIONS"] = True
        app.before_request(self._remember)
        app.add_url_rule("/", view_func=lambda: "<!doctype html><title>page</title>")
        app.add_url_rule("/api/payments/deposit", view_func=self._deposit, methods=["POST"])
        app.add_url_rule("/api/payments/<id>", view_func=self._payment)
        app.add_url_rule("/api/tickets", view_func=self._ticket, methods=["POST"])
        app.add_url_rule("/api/stream", view_func=self._stream)
        Sock(app).route("/ws")(self._socket)
        return app

    def _remember(self) -> tuple[str, int] | None:
        self.requests.append((request.method, request.path, dict(request.headers), request.get_json(silent=True)))
        if request.path == "/ws" and (self.refuse_sockets or not self._token_is_good()):
            self.sockets.append((request.args.get("after"), self._offered(), Queue()))
            return "refused", 401
        return None

    @staticmethod
    def _offered() -> list[str]:
        return [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]

    def _token_is_good(self) -> bool:
        token = self._offered()[-1].removeprefix("sluice.token.")
        return self.good_tokens is None or token in self.good_tokens

    def _deposit(self) -> Response | tuple[Response, int]:
        return self.deposit_answers.pop(0)()

    def _payment(self, id: str) -> Response:
        return jsonify({"id": id, "status": "processing", "redirect_url": "https://pay.example/1"})

    def _ticket(self) -> Response | tuple[Response, int]:
        if self.ticket_answers:
            return self.ticket_answers.pop(0)()
        self._tickets += 1
        answer = {"ticket": f"ticket-{self._tickets}"}
        return jsonify(answer if self.sockets_url is None else {**answer, "sockets_url": self.sockets_url})

    def _greeting(self) -> dict[str, Any]:
        after = request.args.get("after")
        return {"type": "hello", "resumed": after is not None, "last_id": 7, **self.hello}

    def _socket(self, socket: Any) -> None:
        queue: Queue[Any] = Queue()
        self.sockets.append((request.args.get("after"), self._offered(), queue))
        for message in [self._greeting(), *self.missed]:
            socket.send(json.dumps(message))
        while True:
            try:
                message = queue.get(timeout=0.2)
            except Empty:
                if not socket.connected:
                    return
                continue
            if message is None or isinstance(message, int):
                _end(socket, message or 1001)
            try:
                socket.send(json.dumps(message))
            except ConnectionClosed:
                return

    def _stream(self) -> Response:
        queue: Queue[Any] = Queue()
        self.streams.append((request.args.get("after"), request.args.get("ticket"), queue))
        queue.put(self._greeting())

        def frames() -> Iterator[str]:
            while (message := queue.get()) is not None:
                yield f"id: {message.get('id', '')}\nevent: {message['type']}\ndata: {json.dumps(message)}\n\n"

        # Streams are opened from pages of other backends too.
        return Response(frames(), mimetype="text/event-stream", headers={"Access-Control-Allow-Origin": "*"})


def _end(socket: Any, code: int) -> NoReturn:
    """Close a WebSocket: the browser would report 1006, not `code`, if an HTTP answer followed the close frame."""
    socket.close(code)
    # The development server would read the browser's close frame as its next request and refuse it.
    socket.thread.join(DEADLINE_SECONDS)
    with contextlib.suppress(OSError):  # The browser may have closed the connection.
        socket.sock.shutdown(SHUT_RDWR)
    # Nor does it answer a handler that raises this.
    raise ConnectionAbortedError
