"""The headers of every answer of web: security, caching, and which pages may read it (CORS)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.http.request_heads import REQUEST_ID, read_request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The origin whose pages may read the answer, in the request's environment; the gate puts it there.
CORS_ORIGIN = "sluice.cors_origin"
CORS_EXPOSED = "Content-Location, Location, Idempotent-Replayed, Retry-After, Preference-Applied, X-Request-Id"

Headers = list[tuple[str, str]]

# By their names in lower case; a route's own value of one of them counts.
_ALWAYS = {
    "x-content-type-options": ("X-Content-Type-Options", "nosniff"),
    "referrer-policy": ("Referrer-Policy", "no-referrer"),
    "content-security-policy": ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    "cross-origin-resource-policy": ("Cross-Origin-Resource-Policy", "same-origin"),
}
_TLS = {"strict-transport-security": ("Strict-Transport-Security", "max-age=31536000")}
_API = {"cache-control": ("Cache-Control", "no-store")}


class AnswerHeaders:
    """Wraps a WSGI application: adds to its answers the headers that the route has not set itself."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: Headers, *error: Any) -> Any:
            return start_response(status, complete_headers(environ, headers), *error)

        return self._application(environ, start)


def complete_headers(environ: WSGIEnvironment, headers: Headers) -> Headers:
    """Return the headers of the answer to a request, with those that are missing."""
    is_api = environ["PATH_INFO"].startswith("/api/")
    missing = _ALWAYS | _API if is_api else dict(_ALWAYS)
    if environ["wsgi.url_scheme"] == "https":
        missing |= _TLS
    for name, _ in headers:
        missing.pop(name.lower(), None)
    added = list(missing.values())
    added.append((REQUEST_ID, read_request_id(environ)))
    if is_api:
        added.append(("Vary", "Origin"))
    if origin := environ.get(CORS_ORIGIN):
        added += [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", CORS_EXPOSED)]
    return headers + added
