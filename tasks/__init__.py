"""Celery tasks: a doorbell in, one service call. They carry no arguments and return nothing."""

from __future__ import annotations

from app.celery_app import celery_app
from app.runtime import runtime
from app.services import alerting, notifications, provider_calls, seals, settling, sweep, verification, watching


@celery_app.task(name="tasks.settle")
def settle() -> None:
    """Settles webhooks that are due."""
    settling.settle_due(runtime())


@celery_app.task(name="tasks.call_provider")
def call_provider() -> None:
    """Makes provider calls that are due."""
    provider_calls.call_due(runtime())


@celery_app.task(name="tasks.notify")
def notify() -> None:
    """Numbers and publishes notifications that wait."""
    notifications.number_due(runtime())


@celery_app.task(name="tasks.sweep")
def sweep_due() -> None:
    """Rings for whatever is due."""
    sweep.sweep(runtime())


@celery_app.task(name="tasks.housekeep")
def housekeep() -> None:
    """Removes what has expired, folds counters, raises and posts alarms."""
    sweep.housekeep(runtime())
    watching.raise_overdue(runtime())
    alerting.post_due(runtime())


@celery_app.task(name="tasks.seal")
def seal() -> None:
    """Seals audit rows that wait."""
    seals.seal_due(runtime())


@celery_app.task(name="tasks.verify")
def verify() -> None:
    """Proves the books since the last time."""
    verification.prove_due(runtime())
