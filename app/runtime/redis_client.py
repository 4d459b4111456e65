"""Clients of Redis at one server, at a unix socket, or at the master that sentinels name."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from app.runtime.redis_urls import Sentinels, read_sentinels, redis_py_url

# Timeout of the query to a sentinel before each connection to the master; the next one is queried after it.
SENTINEL_SECONDS = 0.5


def sentinel_options(found: Sentinels) -> dict[str, Any]:
    """Return the options of connections to sentinels."""
    return {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        # No retries, which take seconds: the next sentinel is queried instead.
        "retry": Retry(NoBackoff(), 0),
        **found.own_options,
    }


def open_client(url: str, **options: Any) -> Redis:
    """Return a client for `url`; `options` are those of redis-py's connections. No connection is opened yet.

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
