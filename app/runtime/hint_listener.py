"""A subscription to one channel of hints: it reconnects by itself and knows whether it works."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.runtime.metrics import SUBSCRIPTION_UP
from app.runtime.redis_client import open_client

log = structlog.get_logger(__name__)

# How long to wait for a message before the server is pinged.
SILENCE_SECONDS = 5.0
# Longer than the longest wait for a message, or each quiet period would be taken for a dead connection.
READ_SECONDS = SILENCE_SECONDS + 3.0
CONNECT_SECONDS = 2.0
# Users of a listener also query PostgreSQL every one or two seconds, so that reconnecting is not urgent.
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
# Each silence ends with a ping, whose answer counts as a message: two silences without one mean a dead connection.
DEAF_SECONDS = 2 * SILENCE_SECONDS + READ_SECONDS
# Reading a flood of messages never waits for the network: after this many, other threads and greenlets run.
MESSAGES_PER_TURN = 100


class HintListener:
    """Listens to one channel in a thread of its own, which under gevent is a greenlet.

    `receive` gets the data of each message; `subscribed` is called when a subscription begins, since hints published
    before it are lost. `name` is the metric's label.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        name: str,
        receive: Callable[[object], None],
        subscribed: Callable[[], object] = lambda: None,
    ) -> None:
        self._channel, self._name = channel, name
        self._receive, self._subscribed = receive, subscribed
        self._heard_at: float | None = None
        self._is_lost = False
        self._thread: threading.Thread | None = None
        # The client's own retries would hide that messages were missed.
        self._redis = open_client(
            url,
            socket_timeout=READ_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def is_connected(self) -> bool:
        """Whether the server has answered on this subscription within the last DEAF_SECONDS."""
        return self._heard_at is not None and time.monotonic() - self._heard_at < DEAF_SECONDS

    @property
    def is_lost(self) -> bool:
        """Whether the last attempt to listen failed; False before the first one has ended."""
        return self._is_lost

    def start(self) -> None:
        """Start listening unless the thread runs. One started before a fork does not run in the child."""
        if self._thread is None or not self._thread.is_alive():
            self._mark(None)
            self._thread = threading.Thread(target=self._run, name=f"hints-{self._name}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._listen()
            except Exception as error:  # no message and no error of Redis may end this thread: hints would stop
                log.warning("subscription_lost", channel=self._channel, error=type(error).__name__)
            # A connection that had got as far as a subscription starts again with a short pause.
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if self._heard_at is None else FIRST_PAUSE_SECONDS
            self._is_lost = True
            self._mark(None)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load  # nosec B311

    def _mark(self, heard_at: float | None) -> None:
        self._heard_at = heard_at
        SUBSCRIPTION_UP.labels(self._name).set(0 if heard_at is None else 1)

    def _listen(self) -> None:
        with self._redis.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(self._channel)
            is_pinged, received = False, 0
            while True:
                message = pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    if is_pinged:
                        raise ConnectionError("no answer to a ping")
                    pubsub.ping()
                    is_pinged = True
                    continue
                is_pinged, received = False, received + 1
                self._dispatch(message)
                if received % MESSAGES_PER_TURN == 0:
                    time.sleep(0)

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._is_lost = False
            self._mark(time.monotonic())
            self._subscribed()
        elif self._heard_at is not None:
            self._heard_at = time.monotonic()
        if message["type"] == "message":
            self._receive(message["data"])
