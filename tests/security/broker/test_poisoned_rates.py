"""A client that can write to Redis cannot make a tenant's rate limit an error or a refusal that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from limits import RateLimitItemPerSecond
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis

from app.web.rate_storage import GuardedStorage
from testbed.servers import Databases
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api

LIMIT = 4
WRITES: dict[str, Callable[[Redis, bytes], Any]] = {
    "a large count": lambda redis, key: redis.set(key, 10**15),
    "a large count that lasts": lambda redis, key: redis.set(key, 10**15, ex=3_600),
    "no number": lambda redis, key: redis.set(key, "x"),
    "binary": lambda redis, key: redis.set(key, b"\xff\x00"),
    "beyond all numbers": lambda redis, key: redis.set(key, "9" * 400),
    "a hash": lambda redis, key: redis.hset(key, "a", "b"),
    "a list": lambda redis, key: redis.lpush(key, "a"),
    "a stream": lambda redis, key: redis.xadd(key, {"a": "b"}),
}


def spoil(redis: Redis, keys: list[bytes], kind: str) -> None:
    for key in keys:
        redis.delete(key)
        WRITES[kind](redis, key)


@pytest.mark.parametrize("kind", WRITES)
def test_a_spoilt_count_is_begun_anew(databases: Databases, kind: str) -> None:
    storage = GuardedStorage(databases.redis_url)
    strategy, item = SlidingWindowCounterRateLimiter(storage), RateLimitItemPerSecond(LIMIT, 60)
    names = [storage.prefixed_key(name(item.key_for("x"))) for name in window_keys(storage)]
    with Redis.from_url(databases.redis_url) as redis:
        spoil(redis, [name.encode() for name in names], kind)
        # It holds again at once, and no longer than it should.
        assert [strategy.hit(item, "x") for _ in range(LIMIT + 2)] == [True] * LIMIT + [False] * 2
        assert all(0 < redis.pttl(name) <= 120_000 for name in names if redis.exists(name))


def window_keys(storage: GuardedStorage) -> list[Callable[[str], str]]:
    return [storage._previous_window_key, storage._current_window_key]


@pytest.mark.parametrize("kind", WRITES)
def test_a_tenant_is_served_whatever_its_keys_hold(front: Stack, kind: str) -> None:
    shop = front.make_shop(requests_per_second=LIMIT)
    api = Api(front.web, shop.secret_key)
    redis = front.runtime.redis
    assert api.get("/api/events").status_code == 200
    keys = list(redis.scan_iter(f"*{shop.tenant_id}*", count=1_000))
    assert keys
    spoil(redis, keys, kind)

    def is_served() -> bool:
        answer = api.get("/api/events")
        assert answer.status_code in (200, 429), answer.text
        return answer.status_code == 200

    # The limit may be used up by its own right for two windows.
    wait_until(is_served, f"served after {kind}")
