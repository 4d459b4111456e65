"""The doors for providers' webhooks (CONTRACT section 4)."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, jsonify, request

from app.core.errors import RequestRejected
from app.routes.errors import problem
from app.routes.reading import read_bounded
from app.runtime import runtime
from app.services import webhooks
from app.services.webhooks import BODY_BYTES_MAX, PROVIDER_PATH, Delivery

blueprint = Blueprint("webhooks", __name__)


@blueprint.post("/webhooks/payment-success")
def payment_success() -> Response:
    """Takes a webhook that says that money arrived (seed, step 12)."""
    return _receive("payment-success")


@blueprint.post("/webhooks/payment-failed")
def payment_failed() -> Response:
    """Takes a webhook that says that a payment failed or was cancelled (seed, step 12)."""
    return _receive("payment-failed")


@blueprint.post("/webhooks/payment-callback")
def payment_callback() -> Response:
    """Takes a webhook that says how a payment went."""
    return _receive("payment-callback")


@blueprint.post("/webhooks/<provider_id>")
def provider_webhook(provider_id: str) -> Response:
    """Takes a webhook in a provider's own form."""
    return _receive(PROVIDER_PATH, provider_id)


def _receive(path: str, provider_id: str | None = None) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    unread = Delivery(path, provider_id, headers, b"", request.remote_addr or "")
    try:
        body = read_bounded(BODY_BYTES_MAX)
    except RequestRejected:
        webhooks.refuse(runtime(), unread, "too_large")
        raise
    delivery = replace(unread, body=body)
    if request.mimetype != "application/json":
        webhooks.refuse(runtime(), delivery, "media_type")
        return problem(415, "A webhook is application/json.")
    receipt = webhooks.receive(runtime(), delivery)
    answer: dict[str, object] = {
        "received": True,
        "webhook_id": str(receipt.webhook_id),
        "duplicate": receipt.is_duplicate or receipt.is_conflict,
    }
    if receipt.is_conflict:
        answer["conflict"] = True
    return jsonify(answer)
