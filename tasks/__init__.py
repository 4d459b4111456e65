"""Celery tasks: each answers a doorbell with one service call. They have no arguments and return nothing."""

from __future__ import annotations

from app.runtime.broker.celery_app import celery_app
from app.runtime.runtime import runtime
from app.services import verification
from app.services.audit_chain import seals
from app.services.payments import provider_calls, provider_trouble
from app.services.records import notifications
from app.services.upkeep import alert_delivery, backlog, duties, sweep
from app.services.webhooks import settle as settling


@celery_app.task(name="tasks.settle")
def settle() -> None:
    """Settle webhooks that are due."""
    duties.run(runtime(), "settle", settling.settle_due)


@celery_app.task(name="tasks.call_provider")
def call_provider() -> None:
    """Make provider calls that are due."""
    duties.run(runtime(), "provider", provider_calls.call_due)


@celery_app.task(name="tasks.notify")
def notify() -> None:
    """Give numbers to waiting notifications and publish them."""
    duties.run(runtime(), "notify", notifications.number_due)


@celery_app.task(name="tasks.sweep")
def sweep_due() -> None:
    """Ring for work that is due."""
    duties.run(runtime(), "sweep", sweep.sweep)


@celery_app.task(name="tasks.housekeep")
def housekeep() -> None:
    """Remove expired rows, fold counters, raise and post alarms."""
    duties.run(
        runtime(),
        "sweep",
        sweep.housekeep,
        backlog.raise_overdue,
        provider_trouble.raise_alarms,
        alert_delivery.post_due,
    )


@celery_app.task(name="tasks.seal")
def seal() -> None:
    """Seal audit rows that wait."""
    duties.run(runtime(), "sweep", seals.seal_due)


@celery_app.task(name="tasks.verify")
def verify() -> None:
    """Prove the part of the books that is new since the last run."""
    duties.run(runtime(), "sweep", verification.prove_due)
