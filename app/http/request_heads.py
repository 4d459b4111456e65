"""gunicorn's gevent worker with stricter parsing: doubled headers are marked, unknown transfer codings are 400.

Imported in gunicorn's main process, so no large library is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gunicorn.http.errors import ConfigurationProblem, InvalidHeader, UnsupportedTransferCoding
from gunicorn.workers.ggevent import GeventWorker

# WSGI joins equal headers with a comma, after which two read as one. A header of this name that a client
# sends is removed.
MARK = "X-SLUICE-DOUBLED"
_ENVIRON_KEY = "HTTP_X_SLUICE_DOUBLED"

# Headers that decide about authentication, signatures or the resource: two programs on the way of a request may read
# different ones of two. Others (Prefer, Accept, X-Forwarded-For) are lists by definition.
SINGLE_HEADERS = frozenset(
    {
        *("authorization", "idempotency-key", "host", "origin", "content-type", "content-length"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "stripe-signature"),
    }
)


class StrictWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Checks request heads for web and sockets; `app.http.gunicorn_worker` adds how workers start and end."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request, after marking the headers that came more than once."""
        req.headers = mark_doubled(req.headers)
        super().handle_request(listener_name, req, sock, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a head that cannot be served; gunicorn's 501 and 500 are client errors here."""
        if isinstance(exc, UnsupportedTransferCoding | ConfigurationProblem):
            exc = InvalidHeader("TRANSFER-ENCODING", req=req)
        super().handle_error(req, client, addr, exc)


def mark_doubled(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers (names in upper case), followed by one that lists the names that occur twice, if any."""
    names = [name for name, _ in headers]
    if len(set(names)) == len(names) and MARK not in names:
        return headers
    kept = [(name, value) for name, value in headers if name != MARK]
    doubled = sorted({name.lower() for name in names if names.count(name) > 1 and name != MARK})
    return [*kept, (MARK, ",".join(doubled))] if doubled else kept


def find_doubled(environ: Mapping[str, Any]) -> str | None:
    """Return the first, by name, of the SINGLE_HEADERS that came more than once, or None."""
    return min(SINGLE_HEADERS & doubled_headers(environ), default=None)


def doubled_headers(environ: Mapping[str, Any]) -> frozenset[str]:
    """Return the names, in lower case, of the request's headers that came more than once."""
    return frozenset(filter(None, environ.get(_ENVIRON_KEY, "").split(",")))
