"""Redis transport for doorbells: drops undecodable messages, replaces keys of a wrong type, caps each ring queue.

Anyone who can write to Redis can put anything into the broker's keys and channels. An undecodable message raises in the
worker's event loop and ends the worker. A key of a wrong type makes every read of all queues fail. And beat rings while
no worker runs: after a day the first sweep would wait behind tens of thousands of older messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import Empty
from typing import Any, TypeVar

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.json import dumps
from redis.exceptions import ResponseError

from app.runtime.metrics import REDIS_KEYS_REPLACED

log = structlog.get_logger(__name__)

# The queues that hold only doorbells (celeryconfig).
RING_PREFIX = "ring."
# Enough for a hundred workers at once; more doorbells would find no more rows.
DOORBELLS_MAX = 100
# Redis' error code; errors of pipelines and scripts have it inside the message.
WRONG_TYPE = "WRONGTYPE"

Result = TypeVar("Result")


class Channel(redis.Channel):
    """A channel that tolerates foreign data in its keys and keeps the newest DOORBELLS_MAX messages of each queue."""

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        if not queue.startswith(RING_PREFIX) or options.get("_publish_batch") is not None:
            super()._put(queue, message, **options)  # type: ignore[no-untyped-call]
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))  # type: ignore[no-untyped-call]

        def push() -> None:
            with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                pipe.lpush(key, dumps(message))  # type: ignore[no-untyped-call]
                pipe.ltrim(key, 0, DOORBELLS_MAX - 1)
                pipe.execute()

        self._with_right_types({key: "list"}, push)

    def _brpop_read(self, **options: Any) -> Any:
        before = set(self.qos._delivered)
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (Empty, *self.connection_errors):
            raise
        except ResponseError as error:
            if WRONG_TYPE not in str(error):
                raise
            self._remove_wrong_types(self._queue_keys(self.active_queues))
            return True
        except self.connection.channel_errors:
            raise
        except Exception as error:
            log.warning("doorbell_unreadable", error=type(error).__name__)
            # Without the acknowledgement it would occupy one of the worker's prefetch slots permanently.
            for tag in set(self.qos._delivered) - before:
                self.qos.ack(tag)
            return True

    def _receive(self) -> Any:
        try:
            return super()._receive()  # type: ignore[no-untyped-call]
        except (*self.connection_errors, *self.connection.channel_errors):
            raise
        except Exception as error:
            log.warning("broadcast_unreadable", error=type(error).__name__)
            return True

    def _size(self, queue: str) -> Any:
        return self._with_right_types(self._queue_keys([queue]), super()._size, queue)

    def _get(self, queue: str) -> Any:  # type: ignore[override]
        return self._with_right_types(self._queue_keys([queue]), super()._get, queue)

    def _purge(self, queue: str) -> Any:
        return self._with_right_types(self._queue_keys([queue]), super()._purge, queue)

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        self._with_right_types(self._binding_keys(exchange), super()._queue_bind, exchange, *binding)

    def get_table(self, exchange: str) -> Any:
        """Return the exchange's bindings, none where their key was of a wrong type."""
        return self._with_right_types(self._binding_keys(exchange), super().get_table, exchange)

    def _delete(self, queue: str, exchange: str, *binding: Any, **options: Any) -> None:
        self._with_right_types(self._binding_keys(exchange), super()._delete, queue, exchange, *binding, **options)

    def _refresh_bindings(self, queues: Iterable[str]) -> None:
        exchanges = {exchange for queue in queues for exchange, _, _ in self.state.queue_bindings(queue)}
        expected = {key: kind for exchange in exchanges for key, kind in self._binding_keys(exchange).items()}
        self._with_right_types(expected, super()._refresh_bindings, queues)

    def _queue_keys(self, queues: Iterable[str]) -> dict[str, str]:
        return {self._q_for_pri(queue, step): "list" for queue in queues for step in self.priority_steps}  # type: ignore[no-untyped-call]

    def _binding_keys(self, exchange: str) -> dict[str, str]:
        members = (self.keyprefix_queue % (exchange,), self.keyprefix_binding_permanent % (exchange,))
        return {**dict.fromkeys(members, "set"), self.keyprefix_binding_deadlines: "zset"}

    def _with_right_types(
        self, expected: dict[str, str], action: Callable[..., Result], *arguments: Any, **options: Any
    ) -> Result:
        """Run `action`; on an error of a wrong type, remove the keys that differ from `expected` and run it again."""
        try:
            return action(*arguments, **options)
        except ResponseError as error:
            if WRONG_TYPE not in str(error):
                raise
        self._remove_wrong_types(expected)
        return action(*arguments, **options)

    def _remove_wrong_types(self, expected: dict[str, str]) -> None:
        with self.conn_or_acquire() as client:
            for key, kind in expected.items():
                found = client.type(key)
                if found not in (kind.encode(), b"none"):
                    client.delete(key)
                    REDIS_KEYS_REPLACED.inc()
                    log.warning("redis_key_replaced", key=key, type=found.decode("ascii", "replace"))


class Transport(redis.Transport):
    """The transport with that channel."""

    Channel = Channel


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same channel at the master that sentinels name."""


class SentinelTransport(redis.SentinelTransport):
    """The transport with that channel."""

    Channel = SentinelChannel


def use_guarded_transport() -> None:
    """Register this transport for all of kombu's Redis URLs."""
    for name, path in TRANSPORT_ALIASES.items():
        if path == "kombu.transport.redis:Transport":
            TRANSPORT_ALIASES[name] = f"{__name__}:{Transport.__name__}"
        elif path == "kombu.transport.redis:SentinelTransport":
            TRANSPORT_ALIASES[name] = f"{__name__}:{SentinelTransport.__name__}"
