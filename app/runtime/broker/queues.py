"""Measures the lengths of the doorbell queues at Redis or RabbitMQ."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from amqp.exceptions import AMQPError, NotFound  # type: ignore[import-untyped]
from kombu.connection import Connection
from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from app.runtime.broker.urls import broker_options, kombu_url
from app.runtime.redis_urls import is_amqp
from app.runtime.runtime import connect_redis

RING_QUEUES = ("ring.settle", "ring.provider", "ring.notify", "ring.deliver", "ring.sweep")
# Timeout in seconds; a reachable broker answers in milliseconds.
ANSWER_SECONDS = 1.0
# Exceptions for a broker that is unreachable, rejects the login or does not match its URL.
BROKER_ERRORS = (RedisError, AMQPError, KombuError, OSError, ValueError)


def measure_queues(url: str) -> dict[str, int]:
    """Return the length of each queue of doorbells. Raise one of BROKER_ERRORS where the broker cannot be queried."""
    if is_amqp(url):
        with open_amqp(url) as connection:
            return {queue: _count_messages(connection, queue) for queue in RING_QUEUES}
    with closing(connect_redis(url)) as redis:
        return measure_lists(redis)


def measure_lists(redis: Redis) -> dict[str, int]:
    """Return the length of each queue of doorbells in Redis. Raise RedisError."""
    with redis.pipeline(transaction=False) as pipeline:
        for queue in RING_QUEUES:
            pipeline.llen(queue)
        lengths = pipeline.execute(raise_on_error=False)
    # A key of a wrong type has no length; the next ring replaces it.
    return {queue: length if isinstance(length, int) else 0 for queue, length in zip(RING_QUEUES, lengths, strict=True)}


def open_amqp(url: str) -> Connection:
    """Return a connection to RabbitMQ, which opens on first use."""
    options = broker_options(url, seconds=ANSWER_SECONDS)
    return Connection(  # type: ignore[no-untyped-call]
        kombu_url(url), connect_timeout=ANSWER_SECONDS, transport_options=options
    )


def _count_messages(connection: Any, queue: str) -> int:
    # A passive declaration creates no queue; for a missing one it closes the channel.
    with closing(connection.connection.channel()) as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except NotFound:
            return 0
