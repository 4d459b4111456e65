"""How many webhooks and deposits the web process takes per second, beside its own hello."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

from app.core.signatures import decode_secret, sign_standard
from bench.figures import BenchFailed, Figure, compare
from bench.filling import AMOUNT, CURRENCY
from bench.http_load import run_load
from bench.place import Ground, Place, Shop

ROUNDS = 3
# As many senders at once as a busy provider keeps open; the server is one process with greenlets.
CONNECTIONS = 32
# More than the server was ever seen to answer, so that the requests last for the seconds.
REQUESTS_PER_SECOND = {"hello": 8_000, "webhook": 4_000, "deposit": 3_000}
EXPECTED = {"hello": "200", "webhook": "200", "deposit": "202"}
Say = Callable[[str], None]


def build_request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Returns the bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def build_webhook(shop: Shop, payment_id: uuid.UUID, reference: str) -> bytes:
    """Returns a signed request that says that the payment's money arrived."""
    body = json.dumps(
        {
            "provider_id": str(shop.provider_id),
            "event_id": "evt_" + secrets.token_hex(8),
            "event_type": "payment.success",
            "transaction_id": str(payment_id),
            "provider_reference": reference,
            "status": "success",
            "amount": AMOUNT,
            "currency": CURRENCY,
        }
    ).encode()
    webhook_id, stamp = "msg_" + secrets.token_hex(8), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": sign_standard(decode_secret(shop.webhook_secret), webhook_id, stamp, body),
    }
    return build_request("POST", "/webhooks/payment-callback", headers, body)


def build_deposit(shop: Shop, user_id: str, **headers: str) -> bytes:
    """Returns a request for a deposit with an idempotency key of its own."""
    body = json.dumps({"user_id": user_id, "amount": AMOUNT, "currency": CURRENCY}).encode()
    sent = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {shop.secret_key}",
        "Idempotency-Key": secrets.token_hex(12),
        **headers,
    }
    return build_request("POST", "/api/payments/deposit", sent, body)


def measure(place: Place, kind: str, seconds: float) -> dict[str, Any]:
    """Returns what one round of `kind` (hello, webhook, deposit) counted. Raises BenchFailed on a wrong answer."""
    count = int(REQUESTS_PER_SECOND[kind] * seconds)
    if kind == "webhook":
        requests = [build_webhook(place.shop, uuid.uuid4(), "sbx_" + secrets.token_hex(8)) for _ in range(count)]
    elif kind == "deposit":
        requests = [build_deposit(place.shop, f"user-{number % 1_000}") for number in range(count)]
    else:
        requests = [build_request("GET", "/health/live", {})] * count
    counted = run_load(place.ports.web, requests, CONNECTIONS, seconds)
    if set(counted["statuses"]) != {EXPECTED[kind]}:
        raise BenchFailed(f"{kind}: answers were {counted['statuses']}")
    return counted


def run_web(ground: Ground, seconds: float, say: Say) -> dict[str, Figure]:
    """Measures webhooks, deposits and hellos of one web process, interleaved; nobody works on what was taken."""
    rates: dict[str, list[float]] = {kind: [] for kind in EXPECTED}
    last: dict[str, Any] = {}
    with ground.open_place("web") as place:
        place.start("web")
        for kind in EXPECTED:
            measure(place, kind, 0.5)
        for number in range(1, ROUNDS + 1):
            for kind in EXPECTED:
                counted = last[kind] = measure(place, kind, seconds)
                rates[kind].append(counted["count"] / counted["seconds"])
            say(f"web, round {number}: " + ", ".join(f"{kind} {rates[kind][-1]:,.0f}/s" for kind in EXPECTED))
        stored = place.value("select count(*) from webhook_work") + place.value("select count(*) from payment_work")
    details = {"connections": CONNECTIONS, "rows_stored": stored}
    intake = compare(rates["webhook"], rates["hello"], 0.4, ("webhooks", "hello"))
    deposit = compare(rates["deposit"], rates["hello"], 0.3, ("deposits", "hello"))
    return {
        "intake_vs_hello": {**intake, **details, "answer_ms": last["webhook"]["milliseconds"]},
        "deposit_vs_hello": {**deposit, **details, "answer_ms": last["deposit"]["milliseconds"]},
    }
