"""The first baseline: no-op tasks per second of a Celery worker with two processes and no result backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from app.local.processes import SETTLE_PROCESSES
from bench.baselines.task_worker import TaskWorker, launch_worker
from testbed.servers import Servers
from testbed.stack import START_SECONDS
from testbed.waiting import wait_until

TASK = QUEUE = "noop"
POOL = ("--pool", "prefork", "--concurrency", str(SETTLE_PROCESSES))
# The product's worker sends task events for Flower; with its settings goes its command line.
FLAGS = {"defaults": POOL, "own": (*POOL, "--task-events", "--without-gossip", "--without-mingle")}


def measure_noop(worker: TaskWorker, tasks: int) -> float:
    """Return no-op tasks per second."""
    return worker.measure(TASK, [()] * tasks)


@contextlib.contextmanager
def open_noop_workers(servers: Servers, *settings: str) -> Iterator[list[TaskWorker]]:
    """Start a worker for each of `settings`: Celery's defaults or the product's own ("defaults", "own")."""
    with contextlib.ExitStack() as opened:
        workers = []
        for name in settings:
            url = opened.enter_context(servers.open_redis())
            environment = {
                "BENCH_NOOP_BROKER": url,
                "BENCH_NOOP_SETTINGS": name,
                "SLUICE_PROCESS": "worker-noop",
            }
            launched = launch_worker(
                servers, "bench.baselines.noop_app", f"noop-{name}", QUEUE, url, *FLAGS[name], **environment
            )
            workers.append(opened.enter_context(launched))
        for worker in workers:
            wait_until(worker.answers, f"{worker.name} answers", START_SECONDS)
        yield workers
