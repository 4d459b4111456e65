"""The Celery tasks. Each handles a doorbell by calling services; tasks have no arguments and return nothing."""

from __future__ import annotations

from collections.abc import Callable

from app.runtime.broker.celery_app import celery_app
from app.runtime.runtime import Runtime, runtime
from app.services import verification
from app.services.audit_chain import heads
from app.services.deliveries import sending
from app.services.payments.calls import call_dispatcher, provider_trouble
from app.services.records import notifications
from app.services.upkeep import alert_delivery, alert_resolution, backlog, duties, sweep
from app.services.webhooks import awake

# Each task: the queue to which trouble of the database is assigned, then the service calls, in their order.
TASKS: dict[str, tuple[str, tuple[Callable[[Runtime], object], ...]]] = {
    "tasks.settle": ("settle", (awake.settle_awake,)),
    "tasks.call_provider": ("provider", (call_dispatcher.call_due,)),
    "tasks.notify": ("notify", (notifications.number_due,)),
    "tasks.deliver": ("deliver", (sending.deliver_due,)),
    "tasks.sweep": ("sweep", (sweep.sweep,)),
    "tasks.housekeep": (
        "sweep",
        (
            *(sweep.housekeep, backlog.raise_overdue, provider_trouble.raise_alarms),
            *(alert_resolution.resolve_ended, alert_delivery.post_due),
        ),
    ),
    "tasks.keep_heads": ("sweep", (heads.keep_heads,)),
    "tasks.verify": ("sweep", (verification.prove_due,)),
}


def _add_task(name: str, queue: str, calls: tuple[Callable[[Runtime], object], ...]) -> None:
    @celery_app.task(name=name)
    def task() -> None:
        duties.run(runtime(), queue, *calls)


for _name, (_queue, _calls) in TASKS.items():
    _add_task(_name, _queue, _calls)
