"""Celery's Redis transport, made for doorbells: what is none is dropped, and what nobody answers does not pile up.

Others may have written into the queues. A message that cannot be read would end the worker: it is taken, decoded in the
worker's own loop, and raises. And beat goes on ringing while no worker runs: after a day of that the first sweep would
stand behind ten thousands of older ones.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.json import dumps

log = structlog.get_logger(__name__)

# The queues that hold doorbells and nothing else (celeryconfig).
RING_PREFIX = "ring."
# As many looks as a hundred workers could take at once; one more would find nothing that these do not find.
DOORBELLS_MAX = 100


class Channel(redis.Channel):
    """A channel that outlives messages it cannot read, and keeps the newest DOORBELLS_MAX of each queue."""

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        if not queue.startswith(RING_PREFIX) or options.get("_publish_batch") is not None:
            super()._put(queue, message, **options)  # type: ignore[no-untyped-call]
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))  # type: ignore[no-untyped-call]
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.lpush(key, dumps(message))  # type: ignore[no-untyped-call]
            pipe.ltrim(key, 0, DOORBELLS_MAX - 1)
            pipe.execute()

    def _brpop_read(self, **options: Any) -> Any:
        before = set(self.qos._delivered)
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (Empty, *self.connection_errors, *self.connection.channel_errors):
            raise
        except Exception as error:
            log.warning("doorbell_unreadable", error=type(error).__name__)
            # It would hold one of the worker's few places for messages under way, for good.
            for tag in set(self.qos._delivered) - before:
                self.qos.ack(tag)
            return True


class Transport(redis.Transport):
    """The transport with that channel."""

    Channel = Channel


def use_guarded_transport() -> None:
    """Makes kombu take this transport for all its Redis URLs."""
    for name, path in TRANSPORT_ALIASES.items():
        if path == "kombu.transport.redis:Transport":
            TRANSPORT_ALIASES[name] = f"{__name__}:{Transport.__name__}"
