"""Rings of a busy process: none that is needed is lost, none keeps its caller, and a broken Redis hurts nobody."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from app.local.processes import ROOT
from app.runtime import doorbells, ring_listener
from app.runtime.doorbells import BELL_MS, Doorbells
from app.runtime.runtime import connect_redis
from testbed.servers import Databases, new_celery
from testbed.waiting import wait_until

QUEUE = "ring.settle"
# A bell that nobody took down goes after BELL_MS; what takes nearly as long was rescued by that, not by its ring.
RING_SECONDS = BELL_MS / 1000 / 2


class Worker:
    """Does what a worker does: waits for a doorbell, takes the bell down, then claims all that is committed.

    One that listens does so again for each ring that comes while it does.
    """

    def __init__(self, databases: Databases, bells: Doorbells, *, listens: bool) -> None:
        self._redis = Redis.from_url(databases.redis_url)
        self._bells, self._listener = bells, bells.listener("settle") if listens else None
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._committed: set[int] = set()
        self.claimed: set[int] = set()
        self.rings = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def commit(self, row: int) -> None:
        """Make a row visible to the worker, as a commit does."""
        with self._lock:
            self._committed.add(row)

    def _work(self) -> None:
        while not self._is_over.is_set():
            if self._redis.blpop([QUEUE], timeout=0.1) is None:
                continue
            self.rings += 1
            if self._listener is None:
                self._bells.take_down("settle")
                self._claim()
                continue
            self._listener.answer()
            self._claim()
            while self._listener.wait():
                self._claim()

    def _claim(self) -> None:
        with self._lock:
            self.claimed |= self._committed
            self._committed.clear()

    def close(self) -> None:
        """End the worker."""
        self._is_over.set()
        self._thread.join()
        self._redis.close()


class SlowRedis(Redis):
    """Its answers take their time on the way back: what happens meanwhile is what a ring can miss."""

    def evalsha(self, *arguments: Any, **options: Any) -> Any:
        """Run a script, and hear of its result later."""
        answer = super().evalsha(*arguments, **options)
        time.sleep(random.choice((0, 0.001, 0.003)))
        return answer


@pytest.fixture
def bells(databases: Databases) -> Iterator[Doorbells]:
    """Doorbells as the web process has them."""
    redis, celery = SlowRedis.from_url(databases.redis_url), new_celery(databases.redis_url)
    rung = Doorbells(redis, celery)
    rung.ring_aside()
    yield rung
    redis.close()
    celery.close()


# Workers that do not listen, one that may, several of which one at a time does.
@pytest.mark.serial
@pytest.mark.parametrize("listening", [(False,), (True,), (True, True, False)])
def test_no_wake_up_is_lost(
    databases: Databases, bells: Doorbells, monkeypatch: pytest.MonkeyPatch, listening: tuple[bool, ...]
) -> None:
    """No sweep helps here: after each burst the last row has been claimed, whatever moment it was committed at."""
    # About as long as the pauses between commits, so that rings meet the end of a wait.
    monkeypatch.setattr(ring_listener, "WAIT_SECONDS", 0.003)
    workers = [Worker(databases, bells, listens=listens) for listens in listening]
    try:
        commit_in_bursts(bells, workers)
    finally:
        for worker in workers:
            worker.close()


def commit_in_bursts(bells: Doorbells, workers: list[Worker]) -> None:
    numbers, chance, commands = iter(range(10**9)), random.Random(11), threading.Lock()
    rows = 0

    def claimed() -> set[int]:
        return set().union(*(worker.claimed for worker in workers))

    def burst(seed: int, size: int) -> None:
        pauses = random.Random(seed)
        for _ in range(size):
            with commands:
                row = next(numbers)
            for worker in workers:
                worker.commit(row)
            bells.ring("settle")
            # Anything between back to back and well apart: the moments around a ring are met from both sides.
            time.sleep(pauses.choice((0, 0, 0.0005, 0.002, 0.003)))

    for _ in range(150):
        sizes = [chance.randrange(1, 8) for _ in range(chance.randrange(1, 5))]
        threads = [threading.Thread(target=burst, args=(chance.random(), size)) for size in sizes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows += sum(sizes)
        wait_until(lambda: len(claimed()) == rows, "the last row is claimed", RING_SECONDS)  # noqa: B023


def test_rings_of_a_busy_process_are_few(databases: Databases) -> None:
    celery = new_celery(databases.redis_url)
    with connect_redis(databases.redis_url) as redis:
        busy = Doorbells(redis, celery)
        busy.ring_aside()
        redis.config_resetstat()
        started = time.monotonic()
        for _ in range(2_000):
            busy.ring("settle")
            # Leaves the processor to the ringer, who could keep up with this.
            time.sleep(0.0001)
        elapsed = time.monotonic() - started
        checks = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    celery.close()
    assert checks <= elapsed / doorbells.PAUSE_SECONDS + 5
    assert checks < 1_000


def test_a_queue_does_not_ring_for_another(bells: Doorbells, databases: Databases) -> None:
    with Redis.from_url(databases.redis_url) as redis:
        bells.ring("provider")
        bells.ring("notify")
        wait_until(lambda: redis.llen("ring.provider") == redis.llen("ring.notify") == 1, "both have been rung")
        assert redis.llen(QUEUE) == 0
        # The bells hang until a worker takes them down: no second message.
        bells.ring("provider")
        bells.ring("settle")
        wait_until(lambda: redis.llen(QUEUE), "the third has been rung")
        assert redis.llen("ring.provider") == 1


def failed(queue: str) -> float:
    """How many rings have failed in this process."""
    return REGISTRY.get_sample_value("sluice_rings_failed_total", {"queue": queue}) or 0.0


def test_a_redis_that_hangs_keeps_nobody(databases: Databases) -> None:
    """It takes connections and never answers: the ring fails aside, is counted, and a second is left to it."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        redis, celery = connect_redis(url), new_celery(url)
        bells, before = Doorbells(redis, celery), failed("settle")
        bells.ring_aside()
        for _ in range(100):
            bells.ring("settle")
        assert failed("settle") == before, "no ring waited for the answer"
        wait_until(lambda: failed("settle") > before, "the failure is counted")
        redis.close()
        celery.close()


_FORKED = """
import os, sys, time
from redis import Redis
from app.runtime.doorbells import Doorbells
from testbed.servers import new_celery
from testbed.waiting import wait_until

url = sys.argv[1]
redis = Redis.from_url(url)
bells = Doorbells(redis, new_celery(url))
bells.ring_aside()
bells.ring("settle")
wait_until(lambda: redis.llen("ring.settle"), "the parent has rung")
child = os.fork()
if child == 0:
    bells.ring("provider")
    wait_until(lambda: redis.llen("ring.provider"), "the child has rung")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_rings_by_itself(databases: Databases) -> None:
    ran = subprocess.run(
        (sys.executable, "-c", _FORKED, databases.redis_url),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
