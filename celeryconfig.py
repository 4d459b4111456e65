"""Celery's settings. Its messages are doorbells only: they carry no data, and lost ones are sent again by the sweep."""

import os

from kombu.entity import Queue

from app.runtime.broker.urls import broker_options, kombu_url
from app.runtime.redis_urls import is_amqp

_url = os.environ.get("BROKER_URL") or os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0"
broker_url = kombu_url(_url)

# Web processes must give up on a dead broker quickly; workers may take longer to detect a half-open connection.
_is_worker = os.environ.get("SLUICE_PROCESS", "").startswith(("worker", "beat", "flower"))

task_serializer = "json"
accept_content = ["json"]
task_ignore_result = True
task_acks_late = False
# One doorbell at a time, received only when a slot is free, so that a killed worker loses at most one per slot.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
task_send_sent_event = False
broker_connection_retry_on_startup = True
# A fail-over shows a read-only replica for a moment; without this the worker would exit for good.
broker_channel_error_retry = True
broker_pool_acquire_timeout = 1
task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0.05, "interval_max": 0.05}
worker_hijack_root_logger = False
worker_log_format = "%(message)s"
broker_transport_options = broker_options(_url, seconds=5 if _is_worker else 1)
if not is_amqp(_url):
    broker_transport_options["health_check_interval"] = 5 if _is_worker else 10

# Settling needs processors, calls and deliveries wait on the network: an operator scales their queues separately.
_RINGS = ("ring.settle", "ring.provider", "ring.notify", "ring.deliver", "ring.sweep")
task_queues = [Queue(name) for name in _RINGS]  # type: ignore[no-untyped-call]
task_create_missing_queues = False
task_default_queue = "ring.sweep"
task_routes = {
    "tasks.settle": {"queue": "ring.settle"},
    "tasks.notify": {"queue": "ring.notify"},
    "tasks.call_provider": {"queue": "ring.provider"},
    "tasks.deliver": {"queue": "ring.deliver"},
    "tasks.*": {"queue": "ring.sweep"},
}
# A task ends after ten seconds of work and rings again; one that hangs is killed after three times that.
task_time_limit = 30
imports = ("tasks",)

beat_schedule = {
    # A lost doorbell delays work by at most this. Messages expire, so that they do not pile up without a worker.
    "sweep": {"task": "tasks.sweep", "schedule": 2.0, "options": {"expires": 10}},
    # Audit rows whose seals no kept head covers are at most ten seconds old, also when one of these messages is lost.
    "keep_heads": {"task": "tasks.keep_heads", "schedule": 5.0, "options": {"expires": 10}},
    "housekeep": {"task": "tasks.housekeep", "schedule": 60.0, "options": {"expires": 60}},
    # A ledger error is found within minutes; a run over a few new rows costs almost nothing.
    "verify": {"task": "tasks.verify", "schedule": 300.0, "options": {"expires": 300}},
}
# Longest pause between two checks of the schedule by beat (s).
beat_max_loop_interval = 2
timezone = "UTC"
