"""A worker that listens is rung without a message; whatever becomes of it, rings are messages again soon."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from redis import Redis

from app.runtime import doorbells, ring_listener
from app.runtime.doorbells import Doorbells
from app.runtime.ring_listener import LISTEN_MS, keys_of
from app.runtime.runtime import connect_redis
from testbed.servers import Databases, new_celery
from testbed.waiting import wait_until

BELL, LISTENER, RUNG = keys_of("settle")
# No wait ends, and no time is over, while a test runs on a slow machine.
LONG_MS = 60_000
# Where nobody rings the wait ends so fast.
SHORT_SECONDS = 0.01


@pytest.fixture(autouse=True)
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_listener, "WAIT_SECONDS", LONG_MS / 1000)
    for module, name in ((doorbells, "LISTEN_MS"), (ring_listener, "LISTEN_MS"), (ring_listener, "WAIT_MS_MAX")):
        monkeypatch.setattr(module, name, LONG_MS)


@pytest.fixture
def redis(databases: Databases) -> Iterator[Redis]:
    """Provide an empty Redis, whose client waits for as long as it takes."""
    with Redis.from_url(databases.redis_url) as opened:
        opened.flushdb()
        yield opened


@pytest.fixture
def bells(databases: Databases, redis: Redis) -> Iterator[Doorbells]:
    """Provide doorbells that ring at once."""
    with contextlib.closing(new_celery(databases.redis_url)) as celery:
        yield Doorbells(redis, celery)


def messages(redis: Redis) -> int:
    """Return how many messages ring the queue."""
    return int(redis.llen("ring.settle"))  # type: ignore[arg-type]


def test_rings_of_a_worker_that_listens_are_one_and_no_message(bells: Doorbells, redis: Redis) -> None:
    listener = bells.listener("settle")
    listener.answer()
    for _ in range(3):
        bells.ring("settle")
    assert listener.wait()
    assert messages(redis) == 0
    # It has taken the ring, and has not claimed yet: a row committed from here on rings anew.
    bells.ring("settle")
    assert listener.wait()
    assert messages(redis) == 0


def test_a_ring_wakes_a_worker_that_waits(bells: Doorbells, redis: Redis) -> None:
    listener, woken = bells.listener("settle"), list[bool]()
    listener.answer()
    thread = threading.Thread(target=lambda: woken.append(listener.wait()))
    thread.start()
    wait_until(lambda: redis.info("clients")["blocked_clients"], "the worker waits")
    bells.ring("settle")
    thread.join()
    assert woken == [True]
    assert messages(redis) == 0


def test_rings_are_messages_after_a_wait_in_vain(
    bells: Doorbells, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_listener, "WAIT_SECONDS", SHORT_SECONDS)
    listener = bells.listener("settle")
    listener.answer()
    assert not listener.wait()
    bells.ring("settle")
    assert messages(redis) == 1


def test_a_ring_that_came_before_a_worker_left_is_a_message(bells: Doorbells, redis: Redis) -> None:
    listener = bells.listener("settle")
    listener.answer()
    bells.ring("settle")
    listener.leave()
    assert messages(redis) == 1
    bells.ring("settle")
    assert messages(redis) == 2
    # It has left: nothing is rung for a second time.
    listener.leave()
    assert messages(redis) == 2


def test_one_worker_listens_at_a_time(bells: Doorbells, redis: Redis) -> None:
    first, second = bells.listener("settle"), bells.listener("settle")
    first.answer()
    second.answer()
    bells.ring("settle")
    # The second neither waits nor takes what is the first one's.
    assert not second.wait()
    second.leave()
    assert messages(redis) == 0
    assert first.wait()
    first.leave()
    second.answer()
    bells.ring("settle")
    assert not first.wait()
    assert second.wait()


def test_a_worker_that_was_busy_for_too_long_leaves_another_listening(bells: Doorbells, redis: Redis) -> None:
    first, second = bells.listener("settle"), bells.listener("settle")
    first.answer()
    # Its time is over.
    redis.delete(LISTENER)
    second.answer()
    bells.ring("settle")
    first.leave()
    assert messages(redis) == 0
    assert second.wait()


def test_a_queue_wakes_no_listener_of_another(bells: Doorbells, redis: Redis) -> None:
    listener = bells.listener("settle")
    listener.answer()
    bells.ring("provider")
    assert redis.llen("ring.provider") == 1
    assert redis.llen(RUNG) == 0


def test_a_worker_that_was_killed_misses_rings_for_a_moment_only(
    bells: Doorbells, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbells, "LISTEN_MS", LISTEN_MS)
    bells.listener("settle").answer()
    bells.ring("settle")
    assert redis.pttl(LISTENER) <= LISTEN_MS
    # Further rings do not keep it alive.
    bells.ring("settle")
    wait_until(lambda: not redis.exists(LISTENER), "its time is over", 2 * LISTEN_MS / 1000)
    bells.ring("settle")
    assert messages(redis) == 1


@pytest.mark.parametrize("how", ["emptied", "listener", "rung", "for ever", "for hours"])
def test_whatever_happens_to_its_keys_a_worker_listens_again(bells: Doorbells, redis: Redis, how: str) -> None:
    listener = bells.listener("settle")
    listener.answer()
    if how == "emptied":
        redis.flushdb()
    elif how in ("for ever", "for hours"):
        redis.set(LISTENER, "somebody else", ex=3_600 if how == "for hours" else None)
        redis.lpush(RUNG, 1)
    else:
        key = {"listener": LISTENER, "rung": RUNG}[how]
        redis.delete(key)
        redis.hset(key, "a", "b")
    bells.ring("settle")
    # As the sweep rings where the ring was lost.
    listener.answer()
    bells.ring("settle")
    assert listener.wait()
    assert not bells.is_failing


def test_a_list_of_a_wrong_type_costs_no_ring(bells: Doorbells, redis: Redis) -> None:
    bells.listener("settle").answer()
    redis.set(RUNG, "no list")
    bells.ring("settle")
    assert messages(redis) == 1


def test_without_redis_a_worker_does_not_wait(databases: Databases) -> None:
    with connect_redis("redis://127.0.0.1:9/0") as away, contextlib.closing(new_celery(databases.redis_url)) as celery:
        bells = Doorbells(away, celery)
        listener = bells.listener("settle")
        listener.answer()
        assert not listener.wait()
        listener.leave()
        assert bells.is_failing
