"""The plain baseline's Celery half: one task for each provider call, and one for each webhook."""

from __future__ import annotations

import os
import threading
import uuid
from decimal import Decimal
from typing import Any

import requests
from celery import Celery
from celery.signals import worker_process_init
from kombu.entity import Queue
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.runtime.broker.urls import kombu_url
from app.runtime.broker.worker_stop import bound_stop
from bench.baselines.plain_model import (
    PlainAudit,
    PlainEntry,
    PlainPayment,
    PlainWallet,
    PlainWebhook,
    Transaction,
    engine,
)

CALLS, WEBHOOKS = "calls", "webhooks"
# What the provider is granted for an answer (s).
CALL_SECONDS = 10

app = Celery("plain", broker=kombu_url(os.environ["PLAIN_BROKER_URL"]))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,  # A killed worker loses no task.
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=16,  # Tasks are short: Celery's guide says to raise it.
    broker_connection_retry_on_startup=True,
    broker_pool_limit=16,
    task_serializer="json",
    worker_hijack_root_logger=False,
    task_queues=[Queue(CALLS), Queue(WEBHOOKS)],  # type: ignore[no-untyped-call]
)
RETRIES: dict[str, Any] = {"retry_backoff": True, "max_retries": 8}
bound_stop()
_thread = threading.local()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _forget_connections(**_: object) -> None:
    engine.dispose(close=False)


def keep_alive() -> requests.Session:
    """Return this thread's session, whose connection is kept."""
    if not hasattr(_thread, "session"):
        _thread.session = requests.Session()
        _thread.session.trust_env = False
    session: requests.Session = _thread.session
    return session


@app.task(name="call_provider", autoretry_for=(OperationalError, requests.RequestException), **RETRIES)  # type: ignore[untyped-decorator]
def call_provider(payment_id: str) -> None:
    """Create the payment at the provider, outside a transaction, and store its reference and pay page."""
    with Transaction.begin() as transaction:
        payment = transaction.get(PlainPayment, uuid.UUID(payment_id))
        if payment is None or payment.redirect_url is not None:
            return
    answer = keep_alive().post(
        os.environ["PLAIN_PROVIDER_URL"] + "/v1/payments",
        json={
            "merchant_reference": payment_id,
            "amount": str(Decimal(payment.amount_minor) / 100),
            "currency": payment.currency,
        },
        headers={"Idempotency-Key": payment_id},
        timeout=CALL_SECONDS,
    )
    answer.raise_for_status()
    body = answer.json()
    with Transaction.begin() as transaction:
        locked = transaction.get_one(PlainPayment, payment.id, with_for_update=True, populate_existing=True)
        locked.provider_reference, locked.redirect_url = body["reference"], body["redirect_url"]
        if locked.status == "pending":
            locked.status = "processing"
        locked.updated_at = func.now()
        transaction.add(PlainAudit(payment_id=payment.id, kind="provider_call", detail=body))


@app.task(name="process_webhook", autoretry_for=(OperationalError,), **RETRIES)  # type: ignore[untyped-decorator]
def process_webhook(number: int) -> None:
    """Lock, check, credit, write down, commit."""
    with Transaction.begin() as transaction:
        event = transaction.get(PlainWebhook, number, with_for_update=True)
        if event is None or event.status != "received":
            return
        event.processed_at = func.now()
        payload = event.payload
        payment = transaction.get(PlainPayment, uuid.UUID(payload["transaction_id"]), with_for_update=True)
        if payment is None or payment.status == "completed" or payload["status"] != "success":
            event.status = "ignored"
            return
        minor = int(Decimal(payload["amount"]) * 100)
        if payment.amount_minor != minor or payment.currency != payload["currency"]:
            event.status = "mismatch"
            transaction.add(PlainAudit(payment_id=payment.id, kind="amount_mismatch", detail=payload))
            return
        wallet = lock_wallet(transaction, payment.user_id, payment.currency)
        wallet.balance_minor += minor
        payment.status, event.status = "completed", "processed"
        wallet.updated_at = payment.updated_at = payment.completed_at = func.now()
        detail = {"event": event.event_id, "amount_minor": minor, "currency": payment.currency}
        transaction.add(
            PlainEntry(
                wallet_id=wallet.id,
                payment_id=payment.id,
                amount_minor=minor,
                balance_after_minor=wallet.balance_minor,
            )
        )
        transaction.add(PlainAudit(payment_id=payment.id, kind="payment_completed", detail=detail))


def lock_wallet(transaction: Session, user_id: str, currency: str) -> PlainWallet:
    """Return a user's wallet, locked; it is opened where there is none."""
    owner = {"user_id": user_id, "currency": currency}
    locked = select(PlainWallet).filter_by(**owner).with_for_update()
    wallet = transaction.scalars(locked).one_or_none()
    if wallet is None:
        transaction.execute(insert(PlainWallet).values(**owner).on_conflict_do_nothing())
        wallet = transaction.scalars(locked).one()
    return wallet
