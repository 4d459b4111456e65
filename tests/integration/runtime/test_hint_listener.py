"""A listener to hints survives what its callback raises and connections that break, and knows whether it works."""

from __future__ import annotations

import threading
import uuid

import pytest
from redis import Redis

from app.local.embedded import ValkeyServer
from app.runtime.hint_listener import HintListener
from testbed.waiting import wait_until


# What ends the thread is the test's own SystemExit.
@pytest.mark.filterwarnings("ignore:Exception in thread hints-test:pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_subscribes_again_whatever_ended_its_subscription(valkey: ValkeyServer) -> None:
    channel, received, subscriptions = f"test:{uuid.uuid4()}", [], []

    def receive(data: object) -> None:
        received.append(data)
        if data == b"bad":
            raise ValueError("a hint that cannot be handled")
        if data == b"end":
            raise SystemExit  # ends the thread alone: a process of ours has its listener until it ends

    listener = HintListener(valkey.url, channel, "test", receive, lambda: subscriptions.append(listener.is_connected))
    assert (listener.is_connected, listener.is_lost) == (False, False)
    listener.start()
    listener.start()
    with Redis.from_url(valkey.url) as redis:
        wait_until(lambda: len(subscriptions) == 1, "subscribed")
        # One thread, however often it was started.
        assert redis.publish(channel, b"bad") == 1
        wait_until(lambda: len(subscriptions) == 2, "subscribed after an error of the callback")
        redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: len(subscriptions) == 3, "subscribed after the connection was closed")
        redis.publish(channel, b"good")
        wait_until(lambda: received == [b"bad", b"good"], "heard")
        assert subscriptions == [True] * 3
        assert (listener.is_connected, listener.is_lost) == (True, False)
        # What would stay listening would log that its server is gone, after the tests have closed their output.
        redis.publish(channel, b"end")
        wait_until(lambda: all(thread.name != "hints-test" for thread in threading.enumerate()), "the thread has ended")
