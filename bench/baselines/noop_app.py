"""A Celery application with one task that does nothing: what a design of "one task for each webhook" cannot exceed.

BENCH_NOOP_SETTINGS chooses Celery's defaults ("defaults") or the product's own ("own").
"""

from __future__ import annotations

import os

from celery import Celery
from kombu.entity import Queue

from app.runtime.broker.urls import kombu_url
from app.runtime.broker.worker_stop import bound_stop

QUEUE = "noop"

app = Celery("noop", broker=kombu_url(os.environ["BENCH_NOOP_BROKER"]))
if os.environ.get("BENCH_NOOP_SETTINGS") == "own":
    app.config_from_object("celeryconfig")
    app.conf.update(broker_url=kombu_url(os.environ["BENCH_NOOP_BROKER"]), imports=(), task_routes={}, beat_schedule={})
    app.conf.task_queues = [Queue(QUEUE)]  # type: ignore[no-untyped-call]
app.conf.task_default_queue = QUEUE
bound_stop()


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing."""
