"""The process's one subscription: hints that notifications were numbered."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gevent
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.doorbells import NOTIFICATIONS_CHANNEL

log = structlog.get_logger(__name__)

# How long to wait for a message before the server is asked whether it still lives.
SILENCE_SECONDS = 5.0
# More than the longest wait for a message, or each quiet stretch would look like a dead link.
READ_SECONDS = SILENCE_SECONDS + 3.0
CONNECT_SECONDS = 2.0
# The counters bridge the time without a subscription, so that there is no hurry.
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0


class Subscription:
    """Subscribes for ever; `receive` gets each message, `resubscribed` is called when a subscription begins."""

    def __init__(self, url: str, receive: Callable[[bytes], None], resubscribed: Callable[[], None]) -> None:
        self.connected = False
        self._receive = receive
        self._resubscribed = resubscribed
        # Without the client's own retries, which would hide that messages were missed.
        self._redis = Redis.from_url(
            url,
            socket_timeout=READ_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )

    def run(self) -> None:
        """Listens, and after a failure again, with growing pauses."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._listen()
            except (RedisError, OSError) as error:
                log.warning("subscription_lost", error=type(error).__name__)
            # Whoever got as far as a subscription starts over with a short pause.
            pause = FIRST_PAUSE_SECONDS if self.connected else min(pause * 2, LONGEST_PAUSE_SECONDS)
            self.connected = False
            gevent.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load  # nosec B311

    def _listen(self) -> None:
        pubsub: Any = self._redis.pubsub()  # type: ignore[no-untyped-call]
        with pubsub:
            pubsub.subscribe(NOTIFICATIONS_CHANNEL)
            asked = False
            while True:
                message = pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    if asked:
                        raise ConnectionError("no answer to a ping")
                    pubsub.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] == "message":
                    self._receive(message["data"])
                elif message["type"] == "subscribe":
                    self.connected = True
                    # What was published before this moment is not coming any more.
                    self._resubscribed()
