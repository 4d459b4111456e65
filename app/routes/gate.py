"""The gate in front of every route: who calls, whether they may, from which origin, how often."""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections import OrderedDict

from flask import Flask, Response, current_app, g, request
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from app.routes.errors import problem
from app.routes.operations import BY_ROUTE, PAGES, PUBLIC
from app.routes.paths import path_pattern
from app.runtime import Runtime, runtime
from app.services.access import Caller, is_known_origin, recognise

# A wrong key costs its sender this much more each time, up to a second; only a fifth of the connections may be spent
# on it, so that nobody can use the slowing down to keep others out. Who is held back costs a greenlet, no thread.
SLOW_SECONDS_STEP = 0.1
SLOW_SECONDS_MAX = 1.0
SLOWED_AT_ONCE_MAX = 200
SLOW_ADDRESSES_MAX = 10_000
# What one subscriber is given at the least (RFC 6177): counted singly, its addresses would never run out.
SLOW_V6_PREFIX = 64

CORS_METHODS = "GET, POST"
CORS_HEADERS = "Authorization, Content-Type, Idempotency-Key, Prefer, Last-Event-ID"
CORS_EXPOSED = "Location, Idempotent-Replayed, Retry-After, Preference-Applied"
CORS_SECONDS = 600


def caller() -> Caller:
    """Returns who makes the present request; the gate has let them in."""
    found: Caller = g.caller
    return found


def register_gate(app: Flask) -> None:
    """Puts the gate before every request. Raises RuntimeError where a route is missing from the table."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if (method, path_pattern(rule.rule)) not in BY_ROUTE and path_pattern(rule.rule) not in PAGES:
                raise RuntimeError(f"{method} {rule.rule} is not in the table of routes")
    slow = _SlowDown()

    @app.before_request
    def _let_in() -> Response | None:
        return _check(slow)

    @app.after_request
    def _finish(response: Response) -> Response:
        return _add_headers(response)


def _check(slow: _SlowDown) -> Response | None:
    if request.url_rule is None:
        return None
    rule = path_pattern(request.url_rule.rule)
    origin = request.headers.get("Origin")
    if request.method == "OPTIONS":
        return _preflight(origin, rule)
    operation = BY_ROUTE.get(("GET" if request.method == "HEAD" else request.method, rule))
    if operation is None or operation.roles is PUBLIC:
        return None
    found = _authenticate(slow)
    if found is None:
        if origin is not None and _is_known(origin):
            # Whose token it was is not known any more; without this a page could not read that it needs a new one.
            g.cors_origin = origin
        return problem(401, "A valid secret key or client token is needed.")
    g.caller = found
    if origin is not None and not _is_allowed(origin, found.allowed_origins):
        return problem(403, "This origin is not one of the tenant's allowed origins.")
    g.cors_origin = origin
    if found.role not in operation.roles:
        return problem(403, f"The role '{found.role}' may not do this.")
    if found.requests_per_second is not None and not _limiter().may_pass(found):
        return problem(429, "Too many requests for this tenant; slow down.", headers={"Retry-After": "1"})
    return None


def _authenticate(slow: _SlowDown) -> Caller | None:
    header = request.headers.get("Authorization", "")
    scheme, _, credential = header.partition(" ")
    if scheme.lower() != "bearer" or not credential:
        return None
    found = recognise(runtime().database, credential.strip())
    if found is None:
        slow.down(name_guesser(request.remote_addr or ""))
    return found


def own_origin() -> str:
    """Returns the origin under which browsers see this server."""
    return runtime().settings.public_url.lower()


def _is_allowed(origin: str, tenants_origins: tuple[str, ...]) -> bool:
    return origin.lower() == own_origin() or origin.lower() in tenants_origins


def _is_known(origin: str) -> bool:
    """Whether the origin is ours or any tenant's."""
    return origin.lower() == own_origin() or is_known_origin(runtime().database, origin)


def _preflight(origin: str | None, rule: str) -> Response | None:
    if origin is None or not rule.startswith("/api/"):
        return None
    if not _is_known(origin):
        return problem(403, "This origin is not known.")
    response = current_app.response_class(status=204)
    response.headers["Access-Control-Allow-Methods"] = CORS_METHODS
    response.headers["Access-Control-Allow-Headers"] = CORS_HEADERS
    response.headers["Access-Control-Max-Age"] = str(CORS_SECONDS)
    g.cors_origin = origin
    return response


def _add_headers(response: Response) -> Response:
    origin = g.get("cors_origin")
    if request.path.startswith("/api/"):
        response.headers.add("Vary", "Origin")
        response.headers.setdefault("Cache-Control", "no-store")
    if origin:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = CORS_EXPOSED
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def name_guesser(address: str) -> str:
    """Returns whom wrong keys from `address` are counted for: an IPv4 address, mapped or not, or an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, SLOW_V6_PREFIX), strict=False))


class _SlowDown:
    """Makes wrong keys slow for whoever sends them, and for nobody else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, int] = OrderedDict()
        self._places = threading.Semaphore(SLOWED_AT_ONCE_MAX)

    def down(self, guesser: str) -> None:
        """Holds the present request back, longer with each wrong key of `guesser`."""
        with self._lock:
            count = self._wrong.pop(guesser, 0) + 1
            self._wrong[guesser] = count
            if len(self._wrong) > SLOW_ADDRESSES_MAX:
                self._wrong.popitem(last=False)
        if self._places.acquire(blocking=False):
            try:
                time.sleep(min(SLOW_SECONDS_STEP * count, SLOW_SECONDS_MAX))
            finally:
                self._places.release()


class _Limiter:
    """Requests per tenant and second, counted in Redis for all processes, in memory while Redis is away."""

    def __init__(self, current: Runtime) -> None:
        shared = storage_from_string(
            current.settings.required("redis_url"), socket_timeout=1, socket_connect_timeout=0.5
        )
        self._strategies = [_strategy(shared), _strategy(MemoryStorage())]

    def may_pass(self, found: Caller) -> bool:
        """Counts a request of the caller's tenant; False where it is one too many."""
        item = RateLimitItemPerSecond(found.requests_per_second or 1)
        for strategy in self._strategies:
            try:
                return strategy.hit(item, "tenant", str(found.tenant_id))
            except Exception:  # noqa: S112  # nosec B112  # Redis is away: this process counts for itself meanwhile
                continue
        return True


def _strategy(storage: object) -> SlidingWindowCounterRateLimiter:
    assert isinstance(storage, Storage)  # noqa: S101  # the asynchronous kinds are not asked for
    return SlidingWindowCounterRateLimiter(storage)


@functools.cache
def _limiter() -> _Limiter:
    return _Limiter(runtime())
