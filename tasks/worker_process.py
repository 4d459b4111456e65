"""Set up a Celery worker process: logging, connections after a fork, metrics, a first ring, a bounded stop."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from celery import Celery, bootsteps, signals
from prometheus_client import multiprocess

from app.http.metrics_server import serve_metrics
from app.runtime import runtime as runtime_module
from app.runtime.broker.remote_control import limit_remote_control
from app.runtime.broker.worker_stop import bound_stop
from app.runtime.gc_tuning import freeze_gc
from app.runtime.logs import configure_logging
from app.runtime.metrics import TASKS
from app.services.deliveries import sending
from app.services.payments.calls import call_dispatcher
from app.services.tenants import process_keys
from app.services.webhooks import preparation

# Delay of events (s): invisible in Flower, and long enough for a task to start first.
EVENTS_SECONDS = 0.05


class DelayedEvents(bootsteps.StartStopStep):
    """Sends task events after EVENTS_SECONDS, several in one message.

    By default Celery sends them between taking a message and giving it to a process: each task waits for a round trip
    to the broker.
    """

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, consumer: Any) -> None:
        """Replace how the dispatcher sends events; called for each new connection."""
        dispatcher, hub = consumer.event_dispatcher, consumer.hub
        if hub is None:
            return
        is_planned = False

        def flush() -> None:
            nonlocal is_planned
            is_planned = False
            consumer.on_send_event_buffered()

        def plan() -> None:
            nonlocal is_planned
            if not is_planned:
                is_planned = True
                hub.call_later(EVENTS_SECONDS, flush)

        dispatcher.on_send_buffered = plan


def prepare_process(app: Celery) -> None:
    """Connect the worker's signals; called once, when the Celery entry is imported."""
    app.set_default()
    bound_stop()
    app.steps["consumer"].add(DelayedEvents)
    limit_remote_control()
    signals.setup_logging.connect(lambda **_: configure_logging(), weak=False)
    signals.worker_shutting_down.connect(_stop_claiming, weak=False)
    signals.worker_process_init.connect(_start_child, weak=False)
    signals.worker_process_shutdown.connect(_end_child, weak=False)
    signals.task_postrun.connect(_count_task, weak=False)
    signals.worker_ready.connect(_greet, weak=False)
    signals.beat_init.connect(lambda **_: serve_metrics(), weak=False)


def _start_child(**_: Any) -> None:
    """Drop the connections inherited from the parent, and prepare for the first webhooks."""
    if runtime_module.runtime.cache_info().currsize:
        runtime_module.runtime().database.forget_connections()
    freeze_gc()
    # Aside: a database that does not answer must not keep the process from starting.
    threading.Thread(target=lambda: preparation.prepare(runtime_module.runtime()), daemon=True).start()


def _end_child(**_: Any) -> None:
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _greet(**_: Any) -> None:
    """Serve metrics, and ring once for work that became due while no worker ran."""
    # Ctrl-C ends a worker like SIGTERM; by itself it would exit with 1.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    serve_metrics()
    freeze_gc()
    # Settle workers decrypt nothing, and their parent forks, which it should do without threads.
    if os.environ.get("SLUICE_PROCESS") != "worker-settle":
        process_keys.keep_reporting(runtime_module.runtime(), "worker")
    for queue in ("settle", "provider", "notify", "deliver"):
        runtime_module.runtime().doorbells.ring(queue)


def _stop_claiming(**_: Any) -> None:
    if runtime_module.runtime.cache_info().currsize:
        for dispatcher in (call_dispatcher.dispatcher, sending.dispatcher):
            dispatcher(runtime_module.runtime()).stop()


def _count_task(task: Any = None, state: str | None = None, **_: Any) -> None:
    # Celery names no state where the task was cut off before it ended.
    TASKS.labels(task.name, (state or "unknown").lower()).inc()
