"""Checks every request before its route: authentication, roles, origins and rate limits."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import threading
import time
from typing import TYPE_CHECKING

from cachetools import LRUCache
from flask import Flask, Request, Response, g, request
from sqlalchemy.exc import SQLAlchemyError

from app.core.validation.addresses import parse_address
from app.http.origins import Origins, answer_preflight, own_origin
from app.http.problems import problem
from app.http.request_heads import find_doubled
from app.runtime.runtime import runtime
from app.services.access.auth_failures import note_failure
from app.services.access.callers import Caller, is_known_origin, recognise
from app.services.access.key_uses import KeyUses
from app.web.answer_headers import CORS_ORIGIN
from app.web.operations import BY_ROUTE, PAGES
from app.web.paths import path_pattern
from app.web.rate_limits import client_rates, tenant_rates
from app.web.roles import PUBLIC

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# A wrong key delays its sender by this much more each time, up to a second. At most a fifth of the connections may be
# delayed, so that no client can keep others out by being delayed. A delayed request costs a greenlet, no thread.
SLOW_SECONDS_STEP = 0.1
SLOW_SECONDS_MAX = 1.0
SLOWED_AT_ONCE_MAX = 200
SLOW_ADDRESSES_MAX = 10_000
# The smallest network of one subscriber (RFC 6177), whose single addresses would never run out.
SLOW_V6_PREFIX = 64

CORS_METHODS = "GET, POST"
CORS_HEADERS = "Authorization, Content-Type, Idempotency-Key, Prefer, Last-Event-ID, X-Request-Id"


def caller() -> Caller:
    """Return the caller of the present request, whom the gate has authenticated."""
    found: Caller = g.caller
    return found


def register_gate(app: Flask) -> None:
    """Put the gate before every request. Raise RuntimeError where a route is missing from the table."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if (method, path_pattern(rule.rule)) not in BY_ROUTE and path_pattern(rule.rule) not in PAGES:
                raise RuntimeError(f"{method} {rule.rule} is not in the table of routes")
    app.before_request(functools.partial(_check, _WrongKeyDelay()))


def _check(slow: _WrongKeyDelay) -> Response | None:
    current: Request = request._get_current_object()  # type: ignore[attr-defined]  # the proxy looks it up at each use
    if current.url_rule is None:
        return None
    rule, method = path_pattern(current.url_rule.rule), current.method
    origin = current.environ.get("HTTP_ORIGIN")
    if method == "OPTIONS":
        return _preflight(origin, rule)
    operation = BY_ROUTE.get(("GET" if method == "HEAD" else method, rule))
    # The routes of webhooks refuse them too, and record the refusal.
    doubled = find_doubled(current.environ)
    if doubled and not rule.startswith("/webhooks/"):
        return problem(400, f"The header {doubled} is given twice.", code="header_doubled")
    if operation is None or operation.roles is PUBLIC:
        return None
    found = _authenticate(current.environ, slow)
    if found is None:
        if origin is not None and _origins().is_known(origin):
            # The token's tenant is unknown by now; without this header a page could not read that it needs a new token.
            current.environ[CORS_ORIGIN] = origin
        return problem(401, "A valid secret key or client token is needed.")
    g.caller = found
    if origin is not None and not _origins().may_call(origin, found.allowed_origins):
        return problem(403, "This origin is not one of the tenant's allowed origins.", code="origin_forbidden")
    current.environ[CORS_ORIGIN] = origin
    if found.role not in operation.roles:
        return problem(403, f"The role '{found.role}' may not do this.", code="role_forbidden")
    return _check_rates(found)


def _check_rates(found: Caller) -> Response | None:
    # The most specific limit first: a request that a client's share refuses is not counted against the tenant.
    exceeded = client_rates.find_exceeded(found) or (None if tenant_rates().may_pass(found) else "tenant")
    if exceeded is not None:
        return problem(429, f"Too many requests for this {exceeded}; slow down.", headers={"Retry-After": "1"})
    if found.token_id is None:
        _key_uses().note(found.key_id)
    return None


def _authenticate(environ: WSGIEnvironment, slow: _WrongKeyDelay) -> Caller | None:
    address = environ.get("REMOTE_ADDR", "")
    header = environ.get("HTTP_AUTHORIZATION", "")
    scheme, _, credential = header.partition(" ")
    if scheme.lower() != "bearer" or not credential:
        note_failure(runtime().database, header, address, "api")
        return None
    found = recognise(runtime().database, credential.strip())
    if found is None:
        note_failure(runtime().database, credential.strip(), address, "api")
        slow.down(name_guesser(address))
    return found


def _origins() -> Origins:
    own = frozenset({own_origin(runtime().settings.public_url)})
    return Origins(own, functools.partial(is_known_origin, runtime().database))


def allow_known_origin() -> None:
    """Let pages of Sluice's and any tenant's origin read an answer without personal data."""
    origin = request.headers.get("Origin")
    with contextlib.suppress(SQLAlchemyError):
        if origin is not None and _origins().is_known(origin):
            request.environ[CORS_ORIGIN] = origin


def _preflight(origin: str | None, rule: str) -> Response | None:
    if origin is None or not rule.startswith("/api/"):
        return None
    if not _origins().is_known(origin):
        return problem(403, "This origin is not known.", code="origin_forbidden")
    request.environ[CORS_ORIGIN] = origin
    return answer_preflight(CORS_METHODS, CORS_HEADERS)


def name_guesser(address: str) -> str:
    """Return the name by which wrong keys from `address` are counted: its IPv4 address or its IPv6 network."""
    parsed = parse_address(address)
    if parsed is None:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, SLOW_V6_PREFIX), strict=False))


class _WrongKeyDelay:
    """Delays requests with wrong keys, by how many their sender has sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: LRUCache[str, int] = LRUCache(SLOW_ADDRESSES_MAX)
        self._slots = threading.Semaphore(SLOWED_AT_ONCE_MAX)

    def down(self, guesser: str) -> None:
        """Delay the present request, longer with each wrong key of `guesser`."""
        with self._lock:
            count = self._wrong[guesser] = self._wrong.get(guesser, 0) + 1
        if self._slots.acquire(blocking=False):
            try:
                time.sleep(min(SLOW_SECONDS_STEP * count, SLOW_SECONDS_MAX))
            finally:
                self._slots.release()


@functools.cache
def _key_uses() -> KeyUses:
    return KeyUses(runtime().database)
