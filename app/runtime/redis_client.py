"""Clients of Redis, wherever it is: one server, a socket, or the master that sentinels name."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from app.runtime.redis_urls import Sentinels, read_sentinels, redis_py_url

# A sentinel is asked before each connection to the master; one that does not answer soon is passed over.
SENTINEL_SECONDS = 0.5


def sentinel_options(found: Sentinels) -> dict[str, Any]:
    """Return how a connection to a sentinel is made."""
    return {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        # The next sentinel is asked instead; the client's own retries would take seconds each time.
        "retry": Retry(NoBackoff(), 0),
        **found.own_options,
    }


def open_client(url: str, **options: Any) -> Redis:
    """Return a client for `url`; `options` are those of redis-py's connections. Nothing is connected yet.

    Raise ValueError where the URL cannot be used.
    """
    if not url.startswith("sentinel://"):
        return Redis.from_url(redis_py_url(url), **options)
    found = read_sentinels(url)
    sentinel: Any = Sentinel(found.addresses, sentinel_kwargs=sentinel_options(found))  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        found.master_name, db=found.db, username=found.username, password=found.password, **options
    )
    return client
