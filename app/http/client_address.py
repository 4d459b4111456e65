"""The client's address behind a configured number of proxies, for the WSGI applications of web and sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Request

from app.core.validation.addresses import find_client_address, is_loopback_address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Headers that proxies add. Where no proxy is configured, they show that the request came through one.
_PROXY_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "Via")


class ClientAddress:
    """Wraps a WSGI application: REMOTE_ADDR is the client's address in its canonical form, or `unknown`.

    Where a proxy is configured, the scheme in X-Forwarded-Proto is used as well.
    """

    def __init__(self, application: WSGIApplication, hops: int) -> None:
        self._application = application
        self._hops = hops

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = find_client_address(
            environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR"), self._hops
        )
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        if self._hops and scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        return self._application(environ, start_response)


def is_from_this_machine(request: Request, hops: int) -> bool:
    """Return whether the client runs on this machine; False where that cannot be known.

    A request that has a proxy's headers, although no proxy is configured, came through one on this machine: the address
    is the proxy's, not the client's. So did one without X-Forwarded-For where a proxy is configured.
    """
    is_named = hops > 0 and "X-Forwarded-For" in request.headers
    if not is_named and any(name in request.headers for name in _PROXY_HEADERS):
        return False
    return is_loopback_address(request.remote_addr or "")
