"""Rate limits: per tenant over all processes, a share of that per user, a share of that per client token."""

from __future__ import annotations

import functools
import math
import threading
import time
import uuid

import structlog
from cachetools import LRUCache
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.runtime.redis_client import open_client
from app.runtime.runtime import Runtime, runtime
from app.runtime.token_bucket import TokenBucket
from app.services.access.callers import Caller
from app.web.rate_storage import GuardedStorage

# A user's browsers get at most this part of the tenant's limit together, so that one of them cannot use it up.
USER_PART = 10
# With a small limit a tenth is too little to show a page; this much, if it is not more than half of the limit.
USER_MIN = 5
# Token buckets of client tokens and users, some hundred bytes each; the one used longest ago is dropped.
HOLDERS_MAX = 20_000
# A process takes a twentieth of a limit from Redis at a time: one round trip for many requests, and little is lost
# where a process does not use what it took.
CHUNK_PART = 20
# Requests taken from Redis may be used within the second in which they were taken.
CHUNK_SECONDS = 1.0
# A Redis that hangs costs the request that calls it a second; the next requests do not call it for this long.
AWAY_SECONDS = 2.0

log = structlog.get_logger(__name__)


def user_share(requests_per_second: int) -> int:
    """Return how many requests per second one user may make of a tenant's limit."""
    return max(1, requests_per_second // USER_PART, min(USER_MIN, requests_per_second // 2))


def token_share(requests_per_second: int) -> int:
    """Return how many requests per second one client token may make: half of its user's share, rounded up."""
    return (user_share(requests_per_second) + 1) // 2


class ClientRates:
    """Requests per client token, user and second, counted by each process for itself: no round trip."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: LRUCache[tuple[uuid.UUID | None, str, int], TokenBucket] = LRUCache(HOLDERS_MAX)

    def find_exceeded(self, found: Caller) -> str | None:
        """Count a client's request; return the share that it exceeds, "token" or "user", or None."""
        limit = found.requests_per_second
        if found.user_id is None or limit is None:
            return None
        # The token's share first: a request that it refuses is not counted against the user's other tokens.
        if not self._bucket(found.token_id, "", token_share(limit)).take():
            return "token"
        return None if self._bucket(found.tenant_id, found.user_id, user_share(limit)).take() else "user"

    def _bucket(self, owner_id: uuid.UUID | None, user_id: str, share: int) -> TokenBucket:
        key = (owner_id, user_id, share)
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None:
                bucket = self._buckets[key] = TokenBucket(share)
        return bucket


class TenantRates:
    """Requests per tenant and second, counted in Redis for all processes, in memory while Redis is away."""

    def __init__(self, current: Runtime) -> None:
        # The pool finds Redis, also behind sentinels; the library cannot read all of our URLs.
        client = open_client(current.settings.required("redis_url"), socket_timeout=1, socket_connect_timeout=0.5)
        self._client = client  # Kept, since a client that is garbage closes its pool's connections.
        shared = GuardedStorage("redis://", connection_pool=client.connection_pool)
        self._shared, self._own = _strategy(shared), _strategy(MemoryStorage())
        self._shared_again_at = 0.0
        self._lock = threading.Lock()
        # Per tenant: requests taken from the shared count and not made yet, and until when they may be made.
        self._taken: dict[uuid.UUID, tuple[int, float]] = {}
        # One for each tenant that has called, so that a busy tenant delays no other.
        self._turns: dict[uuid.UUID, threading.Lock] = {}

    def may_pass(self, found: Caller) -> bool:
        """Count a request of the caller's tenant; False where it is one too many."""
        limit = found.requests_per_second
        if limit is None or self._has_taken(found.tenant_id):
            return True
        with self._lock:
            turn = self._turns.setdefault(found.tenant_id, threading.Lock())
        with turn:
            # Simultaneous requests share the chunk that one of them takes: with one chunk each, twenty of them would
            # use up the limit.
            return self._has_taken(found.tenant_id) or self._ask(found, limit)

    def _ask(self, found: Caller, limit: int) -> bool:
        now = time.monotonic()
        if now >= self._shared_again_at:
            # While Redis is away, one request at a time tries it; the others do not wait for the result.
            self._shared_again_at = now + AWAY_SECONDS if self._shared_again_at else 0.0
            try:
                may_pass = self._take(self._shared, found, limit)
                self._shared_again_at = 0.0
                return may_pass
            except Exception as error:  # Redis is away: this process counts on its own meanwhile
                self._shared_again_at = time.monotonic() + AWAY_SECONDS
                log.warning("rates_counted_alone", error=type(error).__name__)
        return self._take(self._own, found, limit)

    def _take(self, strategy: SlidingWindowCounterRateLimiter, found: Caller, limit: int) -> bool:
        chunk = math.ceil(limit / CHUNK_PART)
        if chunk > 1 and self._hit(strategy, found, limit, chunk):
            with self._lock:
                self._taken[found.tenant_id] = (chunk - 1, time.monotonic() + CHUNK_SECONDS)
            return True
        return self._hit(strategy, found, limit, 1)

    @staticmethod
    def _hit(strategy: SlidingWindowCounterRateLimiter, found: Caller, limit: int, cost: int) -> bool:
        return strategy.hit(RateLimitItemPerSecond(limit), "tenant", str(found.tenant_id), cost=cost)

    def _has_taken(self, tenant_id: uuid.UUID) -> bool:
        with self._lock:
            left, until = self._taken.get(tenant_id, (0, 0.0))
            if left < 1 or until < time.monotonic():
                self._taken.pop(tenant_id, None)
                return False
            self._taken[tenant_id] = (left - 1, until)
            return True


def _strategy(storage: object) -> SlidingWindowCounterRateLimiter:
    assert isinstance(storage, Storage)  # noqa: S101  # no asynchronous storage is used
    return SlidingWindowCounterRateLimiter(storage)


@functools.cache
def tenant_rates() -> TenantRates:
    """Return this process's count of tenants' requests."""
    return TenantRates(runtime())


client_rates = ClientRates()
