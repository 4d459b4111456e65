"""The client's address behind a configured number of proxies, for the WSGI applications of web and sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Request

from app.core.validation.addresses import find_client_address, is_loopback_address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What proxies add to a request. Where no proxy is configured, their presence shows that there is one all the same.
_PROXY_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "Via")


class ClientAddress:
    """Wraps a WSGI application: REMOTE_ADDR is the client's address in its canonical form, or `unknown`.

    The scheme that the innermost proxy names counts as well, where a proxy is configured.
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
    """Return whether the client runs on this machine, as far as that can be known.

    A request with a proxy's headers where no proxy is configured came through one on this machine: the address is the
    proxy's, not the client's. The same holds where a proxy is configured but named nobody in X-Forwarded-For.
    """
    is_named = hops > 0 and "X-Forwarded-For" in request.headers
    if not is_named and any(name in request.headers for name in _PROXY_HEADERS):
        return False
    return is_loopback_address(request.remote_addr or "")
