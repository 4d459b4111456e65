"""Registers our address for Mollie's signed webhooks."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Callable

from app.core.errors import UnexpectedAnswer
from app.providers.adapter import Account
from app.providers.calls.answer_fields import read_kept_id
from app.providers.calls.http_adapter import read_object
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.connectable import Registration, keep_registration

PATH = "/v2/webhooks"
# Events that say that a payment has ended, or that money has moved.
EVENTS = (
    *("payment.paid", "payment.authorized", "payment.pending", "payment.failed", "payment.canceled", "payment.expired"),
    *("refund.refunded", "refund.failed", "chargeback.received", "chargeback.reversed"),
)
_REMAINING = "nothing: Mollie sends signed events, and unsigned ones to the URL that each payment brings"


def register(
    send: Callable[..., ProviderAnswer], account: Account, webhook_url: str, known_id: str | None
) -> Registration:
    """Subscribe `webhook_url`, unless the known subscription is there. Raise ProviderCallFailed."""
    if known_id is not None:
        answer = send(account, "GET", f"{PATH}/{urllib.parse.quote(known_id, safe='')}")
        shown = {} if answer.status in (404, 410) else read_object(answer)
        if shown.get("url") == webhook_url:
            return keep_registration(known_id, shown.get("eventTypes"), EVENTS)
    request = json.dumps({"name": "Sluice", "url": webhook_url, "eventTypes": list(EVENTS)}).encode("ascii")
    digest = hashlib.sha256(f"{account.provider_id}:{known_id}".encode() + request).hexdigest()
    body = read_object(send(account, "POST", PATH, request, {"Idempotency-Key": digest}), (200, 201))
    secret = body.get("webhookSecret")
    if not isinstance(secret, str):
        raise UnexpectedAnswer("the provider's answer has no secret", "webhookSecret")
    return Registration(read_kept_id(body), secret, _REMAINING)
