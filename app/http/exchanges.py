"""Answers the requests of one connection after the other: the part of gunicorn's gevent worker that speaks HTTP.

gunicorn's own is written for all that its settings allow (HTTP/2, TLS, PROXY protocol, access lines, sendfile, several
parsers) and costs more than the application: here is what web and sockets use. An answer is sent in one piece, its head
with the body. Imported in gunicorn's main process, so no large library is loaded here.
"""

from __future__ import annotations

import errno
import functools
import json
import socket
import time
import urllib.parse
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
)
from gunicorn.http.wsgi import Response, base_environ
from gunicorn.util import close, http_date, write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from app.core.problem_codes import describe_problem
from app.http.request_heads import REQUEST_ID, StrictParser, StrictRequest, environ_key, make_request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# A client that is gone is nothing to report.
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)

# What is wrong with a head, where it is not that it cannot be read.
_REFUSED_HEADS: dict[type[Exception], tuple[int, str]] = {
    LimitRequestLine: (414, "The request line is too long."),
    ExpectationFailed: (417, "The header Expect has an unknown value."),
    LimitRequestHeaders: (431, "The headers are too long, or too many."),
}


class HttpWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves connections of web and sockets; `app.http.gunicorn_worker` adds how workers start and end."""

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection until either side ends it."""
        client.setblocking(1)
        request = None
        try:
            requests = StrictParser(self.cfg, client, addr)
            while True:
                # An error while the next one is read is not the last one's.
                request = None
                request = self.next_request(requests)
                if request is None:
                    break
                self.handle_request(listener.getsockname(), request, client, addr)
        except (NoMoreData, StopIteration) as error:
            self.log.debug("Closing connection. %s", error)
        except OSError as error:
            if error.errno not in _GONE:
                self.log.exception("Socket error processing request.")
        except BaseException as error:  # a greenlet that is ended, too: the client gets an answer
            self.handle_error(request, client, addr, error)
        finally:
            close(client)

    def next_request(self, requests: StrictParser) -> StrictRequest | None:
        """Return the next request of a connection; None where none came in time, which ends the block."""
        with self.timeout_ctx():
            request: StrictRequest = next(requests)
            return request
        return None  # type: ignore[unreachable]  # the time limit ends the block quietly

    def handle_request(self, listener_name: Any, req: StrictRequest, sock: Any, addr: Any) -> None:
        """Answer one request. Raise StopIteration where the connection ends with it."""
        answer = HttpAnswer(req, sock, self.cfg)
        if not self.alive:
            answer.force_close()
        try:
            pieces: Iterable[bytes] = self.wsgi(self._environ(listener_name, req, sock, addr), answer.start_response)
            try:
                for piece in pieces:
                    answer.write(piece)
                answer.close()
            finally:
                if hasattr(pieces, "close"):
                    pieces.close()
        except (GreenletExit, SystemExit):
            return
        except (StopIteration, OSError):
            raise
        except Exception:
            if not answer.headers_sent:
                raise
            # A second answer on the same connection would be read as the rest of the first.
            self.log.exception("Error handling request")
            sock.shutdown(socket.SHUT_RDWR)
            raise StopIteration from None
        if answer.should_close():
            raise StopIteration

    def _environ(self, listener_name: Any, req: StrictRequest, sock: Any, addr: Any) -> WSGIEnvironment:
        """Return the request as PEP 3333 has it."""
        if req._expected_100_continue:
            sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        environ: WSGIEnvironment = {
            **self._base,
            "wsgi.input": req.body,
            "wsgi.url_scheme": req.scheme,
            "gunicorn.socket": sock,
            "REQUEST_METHOD": req.method,
            "RAW_URI": req.uri,
            "PATH_INFO": urllib.parse.unquote_to_bytes(req.path).decode("latin-1") if "%" in req.path else req.path,
            "QUERY_STRING": req.query,
            "SERVER_PROTOCOL": "HTTP/1.1" if req.version == (1, 1) else "HTTP/1.0",
            "REMOTE_ADDR": addr[0],
            "REMOTE_PORT": str(addr[1]),
            "SERVER_NAME": listener_name[0],
            "SERVER_PORT": str(listener_name[1]),
        }
        for name, value in req.headers:
            key = environ_key(name)
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ

    @functools.cached_property
    def _base(self) -> WSGIEnvironment:
        """What all requests of this process have in common."""
        base = base_environ(self.cfg)
        # Answers are iterated; a file would be sent past the answer's own count of bytes.
        del base["wsgi.file_wrapper"]
        return {**base, "wsgi.multithread": True, "SCRIPT_NAME": ""}

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be served with a problem document, and end the connection."""
        request_id = make_request_id()
        # Of the application's headers none comes from a client: one that cannot be sent is our fault.
        if isinstance(exc, ParseException) and not isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName):
            status, detail = _REFUSED_HEADS.get(type(exc), (400, "The head of the request cannot be read."))
            self.log.warning("Invalid request from ip=%s: %s (%s)", (addr or ("",))[0], exc, request_id)
        else:
            status, detail = 500, "Something unexpected happened; it has been logged."
            self.log.exception("Error handling request %s (%s)", getattr(req, "uri", "without a head"), request_id)
        try:
            write_nonblock(client, _write_problem(status, detail, request_id))
        except Exception:
            self.log.debug("Failed to send error message.")


def _write_problem(status: int, detail: str, request_id: str) -> bytes:
    """Return a whole answer, after which the connection ends."""
    body = json.dumps(describe_problem(status, detail, None, request_id)).encode()
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"{REQUEST_ID}: {request_id}",
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


class HttpAnswer(Response):  # type: ignore[misc]
    """gunicorn's response, whose head is sent together with the first piece of a body of known length."""

    headers_sent: bool
    sent: int

    def write(self, data: bytes) -> None:
        """Send a piece of the body, after the head."""
        if self.headers_sent or self.chunked or self._omits_body or len(data) != self.response_length:
            super().write(data)
            return
        self.headers_sent, self.sent = True, len(data)
        _send(self.sock, self._head() + data)

    def send_headers(self) -> None:
        """Send the head by itself, unless it has been sent."""
        if not self.headers_sent:
            self.headers_sent = True
            _send(self.sock, self._head())

    def _head(self) -> bytes:
        """Return the head with gunicorn's own headers."""
        kind = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        lines = [
            f"HTTP/{self.req.version[0]}.{self.req.version[1]} {self.status}",
            f"Server: {self.version}",
            f"Date: {_date(int(time.time()))}",
            f"Connection: {kind}",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Return the Date header of `second`, which is the present one."""
    return str(http_date(second))


def _send(sock: Any, data: bytes) -> None:
    """Send all of `data`; mostly one call of the system."""
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(data[sent:])
