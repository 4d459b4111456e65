"""The process's one subscription: hints that notifications were numbered."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import gevent
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.runtime.hints import NOTIFICATIONS_CHANNEL
from app.runtime.metrics import SUBSCRIPTION_UP
from app.runtime.redis_client import open_client

log = structlog.get_logger(__name__)

# How long to wait for a message before the server is asked whether it still lives.
SILENCE_SECONDS = 5.0
# More than the longest wait for a message, or each quiet stretch would look like a dead link.
READ_SECONDS = SILENCE_SECONDS + 3.0
CONNECT_SECONDS = 2.0
# The counters bridge the time without a subscription, so that there is no hurry.
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
# Each silence ends with a ping, whose answer counts: after two of them without one the subscription does not work.
DEAF_SECONDS = 2 * SILENCE_SECONDS + READ_SECONDS
# A flood of messages is read without ever waiting for the network: after so many of them the others get their turn.
MESSAGES_PER_TURN = 100


class Subscription:
    """Subscribes for ever; `receive` gets each message, `resubscribed` is called when a subscription begins."""

    def __init__(self, url: str, receive: Callable[[object], None], resubscribed: Callable[[], None]) -> None:
        self._heard_at: float | None = None
        self._mark(None)
        self._receive = receive
        self._resubscribed = resubscribed
        # Without the client's own retries, which would hide that messages were missed.
        self._redis = open_client(
            url,
            socket_timeout=READ_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def connected(self) -> bool:
        """Whether the server has answered on this subscription a moment ago."""
        return self._heard_at is not None and time.monotonic() - self._heard_at < DEAF_SECONDS

    def run(self) -> None:
        """Listen, and after a failure again, with growing pauses."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._listen()
            except Exception as error:  # whatever a message or the server causes: without this greenlet no hint comes
                log.warning("subscription_lost", error=type(error).__name__)
            # Whoever got as far as a subscription starts over with a short pause.
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if self._heard_at is None else FIRST_PAUSE_SECONDS
            self._mark(None)
            gevent.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load  # nosec B311

    def _mark(self, heard_at: float | None) -> None:
        self._heard_at = heard_at
        SUBSCRIPTION_UP.labels("notifications").set(0 if heard_at is None else 1)

    def _listen(self) -> None:
        pubsub: Any = self._redis.pubsub()  # type: ignore[no-untyped-call]
        with pubsub:
            pubsub.subscribe(NOTIFICATIONS_CHANNEL)
            asked, received = False, 0
            while True:
                message = pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    if asked:
                        raise ConnectionError("no answer to a ping")
                    pubsub.ping()
                    asked = True
                    continue
                asked, received = False, received + 1
                self._take(message)
                if received % MESSAGES_PER_TURN == 0:
                    gevent.sleep(0)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._mark(time.monotonic())
            # What was published before this moment is not coming any more.
            self._resubscribed()
        elif self._heard_at is not None:
            self._heard_at = time.monotonic()
        if message["type"] == "message":
            self._receive(message["data"])
