"""A Celery worker that is not the product's: how fast it does the tasks that wait in its queue."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from celery import Celery
from redis import Redis

from app.local.readiness import node_answers
from app.runtime.broker.urls import kombu_url
from bench.baselines.processes import run_program
from testbed.servers import Servers
from testbed.waiting import wait_until

# Tasks in one pipelined publish; only how fast the queue is filled, not what is measured.
PUBLISH_BATCH = 500
# Long against what a busy machine does to healthy work, short against a run.
WORK_SECONDS = 120.0


@dataclass(frozen=True)
class TaskWorker:
    """A running worker, its queue and its broker."""

    name: str
    queue: str
    url: str
    celery: Celery
    redis: Redis

    def answers(self) -> bool:
        """Return whether the worker takes tasks."""
        return node_answers(self.url, self.name)

    def measure(self, task: str, arguments: Sequence[tuple[object, ...]]) -> float:
        """Return tasks per second: the queue is filled while the worker does not listen, then emptied."""
        node = [f"{self.name}@{socket.gethostname()}"]
        self.celery.control.cancel_consumer(self.queue, destination=node, reply=True)
        with self.celery.producer_pool.acquire() as producer:
            for first in range(0, len(arguments), PUBLISH_BATCH):
                with producer.batch(PUBLISH_BATCH):
                    for each in arguments[first : first + PUBLISH_BATCH]:
                        self.celery.send_task(task, each, queue=self.queue, producer=producer, ignore_result=True)
        started = time.monotonic()
        self.celery.control.add_consumer(self.queue, destination=node)
        wait_until(self.is_idle, f"the tasks of {self.name} are done", WORK_SECONDS)
        return len(arguments) / (time.monotonic() - started)

    def is_idle(self) -> bool:
        """Return whether no task waits or runs."""
        return self.redis.llen(self.queue) == 0 and self.redis.hlen("unacked") == 0


@contextlib.contextmanager
def launch_worker(
    servers: Servers, app: str, name: str, queue: str, url: str, *flags: str, **environment: str
) -> Iterator[TaskWorker]:
    """Launch a worker of the Celery application `app` at the broker `url`; give it without waiting for it."""
    argv = (
        *(sys.executable, "-m", "celery", "--app", app, "--quiet", "worker"),
        *("--hostname", f"{name}@%h", "--queues", queue, "--loglevel", "WARNING", *flags),
    )
    celery, redis = Celery(broker=kombu_url(url), set_as_current=False), Redis.from_url(url)
    with run_program(servers, name, argv, **environment):
        try:
            yield TaskWorker(name, queue, url, celery, redis)
        finally:
            celery.close()
            redis.close()
