"""Celery's settings: doorbells only, so nothing here may be relied on to keep a message.

Every choice is about doorbells: they carry no data, may be lost or doubled, and are rung again by the sweep.
"""

import os

from kombu.entity import Queue

from app.runtime.broker.urls import broker_options, kombu_url
from app.runtime.redis_urls import is_amqp

_url = os.environ.get("BROKER_URL") or os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0"
broker_url = kombu_url(_url)

# Web processes must give up on a dead broker quickly; workers may take longer to notice a half-open link.
_is_worker = os.environ.get("SLUICE_PROCESS", "").startswith(("worker", "beat", "flower"))

task_serializer = "json"
accept_content = ["json"]
task_ignore_result = True
task_acks_late = False
# One doorbell at a time, taken only when there is a slot for it, so that a killed worker loses hardly any.
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

# Settling is busy work, provider calls wait on the network: separate queues let an operator scale them apart.
_RINGS = ("ring.settle", "ring.provider", "ring.notify", "ring.sweep")
task_queues = [Queue(name) for name in _RINGS]  # type: ignore[no-untyped-call]
task_create_missing_queues = False
task_default_queue = "ring.sweep"
task_routes = {
    "tasks.settle": {"queue": "ring.settle"},
    "tasks.notify": {"queue": "ring.notify"},
    "tasks.call_provider": {"queue": "ring.provider"},
    "tasks.*": {"queue": "ring.sweep"},
}
# A doorbell caps its own work at ten seconds and rings again; a body that hangs is cut off after three times that.
task_time_limit = 30
imports = ("tasks",)

beat_schedule = {
    # A lost doorbell costs at most this long. The message expires so that a stopped worker finds no pile of them.
    "sweep": {"task": "tasks.sweep", "schedule": 2.0, "options": {"expires": 10}},
    # The unsealed tail of the audit is at most ten seconds old, also when one of these is lost.
    "seal": {"task": "tasks.seal", "schedule": 5.0, "options": {"expires": 10}},
    "housekeep": {"task": "tasks.housekeep", "schedule": 60.0, "options": {"expires": 60}},
    # Often enough to hear of a broken book before its day is over, seldom enough to cost nothing.
    "verify": {"task": "tasks.verify", "schedule": 300.0, "options": {"expires": 300}},
}
# Longest pause between two checks of the schedule by beat (s).
beat_max_loop_interval = 2
timezone = "UTC"
