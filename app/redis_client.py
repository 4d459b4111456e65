"""Clients of Redis, wherever it is: one server, a socket, or the master that sentinels name."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.sentinel import Sentinel

from app.redis_urls import read_sentinels, redis_py_url

# A sentinel is asked before each connection to the master; one that does not answer soon is passed over.
SENTINEL_SECONDS = 0.5


def open_client(url: str, **options: Any) -> Redis:
    """Return a client for `url`; `options` are those of redis-py's connections. Nothing is connected yet.

    Raises ValueError where the URL cannot be used.
    """
    if not url.startswith("sentinel://"):
        return Redis.from_url(redis_py_url(url), **options)
    found = read_sentinels(url)
    bounds = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    sentinel: Any = Sentinel(found.addresses, sentinel_kwargs={**bounds, **found.own_options})  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        found.master_name, db=found.db, username=found.username, password=found.password, **options
    )
    return client
