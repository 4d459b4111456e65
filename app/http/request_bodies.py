"""Reading of request bodies: within a bounded time; an unreadable one is a client error."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gevent import Timeout, monkey
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import BadRequest, RequestTimeout

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The largest body, a megabyte, at a hundred kilobytes per second; ordinary ones arrive with their head.
BODY_SECONDS = 10.0


class GuardedBodies:
    """Wraps a WSGI application: reading a body after its deadline raises 408, reading a truncated one 400.

    Only under gevent: elsewhere a read cannot be interrupted, which only concerns tests.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._is_cooperative = bool(monkey.is_module_patched("socket"))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # What is in memory already needs no deadline.
        if self._is_cooperative and not isinstance(environ["wsgi.input"], io.BytesIO):
            environ["wsgi.input"] = _GuardedInput(environ["wsgi.input"])
        return self._application(environ, start_response)


class _GuardedInput:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + BODY_SECONDS

    def read(self, *size: int) -> bytes:
        return self._receive(self._stream.read, *size)

    def readline(self, *size: int) -> bytes:
        return self._receive(self._stream.readline, *size)

    def _receive(self, read: Any, *size: int) -> bytes:
        late = RequestTimeout("The body did not arrive in time.")
        try:
            with Timeout(max(self._deadline - time.monotonic(), 0.001), late):
                received: bytes = read(*size)
        except (ParseException, NoMoreData, ConnectionError):
            raise BadRequest("The body cannot be read.") from None
        return received
