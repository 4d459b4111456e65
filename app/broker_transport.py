"""Celery's Redis transport, for queues into which others may have written: what is no doorbell is dropped.

Without this a message that cannot be read ends the worker: it is taken, decoded in the worker's own loop, and raises.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

log = structlog.get_logger(__name__)


class Channel(redis.Channel):
    """A channel that outlives messages it cannot read."""

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
