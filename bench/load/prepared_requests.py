"""The bytes of the requests that the bench sends, made beforehand."""

from __future__ import annotations

import json
import secrets

from bench.filling import AMOUNT, CURRENCY
from testbed.shop import sign_webhook

CALLBACK = "/webhooks/payment-callback"


def build_request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def build_webhook(
    provider_id: object, secret: str, payment_id: object, path: str = CALLBACK, reference: str | None = None
) -> bytes:
    """Return a signed request that says that the payment's money arrived."""
    body = json.dumps(
        {
            "provider_id": str(provider_id),
            "event_id": "evt_" + secrets.token_hex(8),
            "event_type": "payment.success",
            "transaction_id": str(payment_id),
            "provider_reference": reference or f"sbx_{payment_id}",
            "status": "success",
            "amount": AMOUNT,
            "currency": CURRENCY,
        }
    ).encode()
    return build_request("POST", path, sign_webhook(secret, body), body)


def build_deposit(secret_key: str, user_id: str, **headers: str) -> bytes:
    """Return a request for a deposit with an idempotency key of its own."""
    body = json.dumps({"user_id": user_id, "amount": AMOUNT, "currency": CURRENCY}).encode()
    sent = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {secret_key}",
        "Idempotency-Key": secrets.token_hex(12),
        **headers,
    }
    return build_request("POST", "/api/payments/deposit", sent, body)
