"""The plain baseline's Flask half: deposits and webhooks, each a row, a commit and a task."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
import uuid
from decimal import Decimal

from flask import Flask, Response, jsonify, request
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from bench.baselines.plain_model import PlainPayment, PlainWebhook, Transaction
from bench.baselines.plain_tasks import CALLS, WEBHOOKS, call_provider, process_webhook

TOLERANCE_SECONDS = 300
SECRET = base64.b64decode(os.environ["PLAIN_SECRET"].removeprefix("whsec_"))
KEY = os.environ["PLAIN_KEY"]

app = Flask(__name__)


@app.post("/api/payments/deposit")
def deposit() -> tuple[Response, int]:
    """Store a deposit and enqueue its call."""
    if not hmac.compare_digest(request.headers.get("Authorization", ""), f"Bearer {KEY}"):
        return jsonify(error="unauthorized"), 401
    asked = request.get_json()
    key = request.headers["Idempotency-Key"]
    with Transaction.begin() as transaction:
        made = transaction.scalar(
            insert(PlainPayment)
            .values(
                id=uuid.uuid4(),
                idempotency_key=key,
                user_id=asked["user_id"],
                amount_minor=int(Decimal(asked["amount"]) * 100),
                currency=asked["currency"],
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
            .returning(PlainPayment.id)
        )
        payment_id = made or transaction.scalar(select(PlainPayment.id).filter_by(idempotency_key=key))
    if made:
        call_provider.apply_async((str(payment_id),), queue=CALLS)
    return jsonify(id=str(payment_id), status="pending"), 202


@app.post("/webhooks/payment-callback")
def webhook() -> tuple[str, int]:
    """Verify the signature, store the event, enqueue it."""
    body = request.get_data()
    message, stamp = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > TOLERANCE_SECONDS:
        return "stale", 400
    signed = hmac.new(SECRET, f"{message}.{stamp}.".encode() + body, hashlib.sha256).digest()
    given = request.headers.get("webhook-signature", "").removeprefix("v1,")
    if not hmac.compare_digest(base64.b64encode(signed).decode(), given):
        return "signature", 401
    with Transaction.begin() as transaction:
        number = transaction.scalar(
            insert(PlainWebhook)
            .values(event_id=message, payload=json.loads(body))
            .on_conflict_do_nothing(index_elements=["event_id"])
            .returning(PlainWebhook.id)
        )
    if number is not None:
        process_webhook.apply_async((number,), queue=WEBHOOKS)
    return "", 200


@app.get("/health")
def health() -> str:
    """Answer at once."""
    return "ok"
