"""The first baseline: no-op tasks per second of a Celery worker with two processes and no result backend."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from celery import Celery
from redis import Redis

from app.local.processes import ROOT, SETTLE_PROCESSES
from app.local.readiness import node_answers
from app.local.spawn import launch
from app.runtime.broker.urls import kombu_url
from testbed.process_tree import kill_all, list_tree
from testbed.servers import Servers
from testbed.stack import START_SECONDS
from testbed.waiting import wait_until

# Some seconds of work: longer than a worker needs to come into its stride, short against the whole run.
TASKS = 2_000
TASK = "noop"
QUEUE = "noop"
# Tasks in one pipelined publish; only how fast the queue is filled, not what is measured.
PUBLISH_BATCH = 500
# Long against what a busy machine does to healthy work, short against a run.
WORK_SECONDS = 120.0


@dataclass(frozen=True)
class NoopWorker:
    """A running worker of bench.baselines.noop_app and its broker."""

    name: str
    url: str
    celery: Celery
    redis: Redis

    def answers(self) -> bool:
        """Return whether the worker takes tasks."""
        return node_answers(self.url, self.name)

    def measure(self, tasks: int = TASKS) -> float:
        """Return tasks per second: the queue is filled while the worker does not listen, then emptied."""
        node = [f"{self.name}@{socket.gethostname()}"]
        self.celery.control.cancel_consumer(QUEUE, destination=node, reply=True)
        with self.celery.producer_pool.acquire() as producer:
            for first in range(0, tasks, PUBLISH_BATCH):
                with producer.batch(PUBLISH_BATCH):
                    for _ in range(first, min(first + PUBLISH_BATCH, tasks)):
                        self.celery.send_task(TASK, queue=QUEUE, producer=producer, ignore_result=True)
        started = time.monotonic()
        self.celery.control.add_consumer(QUEUE, destination=node)
        wait_until(self._is_empty, "the no-op tasks are done", WORK_SECONDS)
        return tasks / (time.monotonic() - started)

    def _is_empty(self) -> bool:
        return self.redis.llen(QUEUE) == 0 and self.redis.hlen("unacked") == 0


@contextlib.contextmanager
def open_noop_workers(servers: Servers, *settings: str) -> Iterator[list[NoopWorker]]:
    """Start a worker for each of `settings`: Celery's defaults or the product's own ("defaults", "own")."""
    with contextlib.ExitStack() as opened:
        workers = [
            opened.enter_context(_launch(servers, name, opened.enter_context(servers.open_redis())))
            for name in settings
        ]
        for worker in workers:
            wait_until(worker.answers, f"{worker.name} answers", START_SECONDS)
        yield workers


@contextlib.contextmanager
def _launch(servers: Servers, settings: str, url: str) -> Iterator[NoopWorker]:
    name = f"noop-{settings}"
    # The product's worker sends task events for Flower; with its settings goes its command line.
    flags = ("--task-events", "--without-gossip", "--without-mingle") if settings == "own" else ()
    process = launch(
        (
            *(sys.executable, "-m", "celery", "--app", "bench.baselines.noop_app", "--quiet", "worker"),
            *("--hostname", f"{name}@%h", "--queues", QUEUE, "--pool", "prefork"),
            *("--concurrency", str(SETTLE_PROCESSES), "--loglevel", "WARNING"),
            *flags,
        ),
        log_path=servers.folder / f"{name}.log",
        env={
            **os.environ,
            "BENCH_NOOP_BROKER": url,
            "BENCH_NOOP_SETTINGS": settings,
            "SLUICE_PROCESS": "worker-noop",
            "TMPDIR": str(servers.folder),
        },
        cwd=ROOT,
        death_signal=signal.SIGTERM,
    )
    celery, redis = Celery(broker=kombu_url(url), set_as_current=False), Redis.from_url(url)
    try:
        yield NoopWorker(name, url, celery, redis)
    finally:
        celery.close()
        redis.close()
        kill_all(list_tree(process.pid))
        process.wait()
