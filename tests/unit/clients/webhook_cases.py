"""Deliveries that the clients must accept or refuse alike, signed by the official library of Standard Webhooks."""

from __future__ import annotations

import base64
import datetime
import json
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

NOW = 1_700_000_000
SECRET, OLD, OTHER = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
BODY = json.dumps({"id": 7, "type": "payment.completed"})


def sign(*secrets: str, at: int = NOW) -> dict[str, str]:
    """Return the headers of a delivery of BODY."""
    moment = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    signatures = [Webhook(secret).sign("msg_1", moment, BODY) for secret in secrets]
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


@dataclass(frozen=True)
class WebhookCase:
    """A delivery and what a client says to it: `refusal` is a part of its message, None where it accepts."""

    refusal: str | None
    body: str = BODY
    headers: dict[str, str] = field(default_factory=lambda: sign(SECRET))
    secrets: Any = SECRET
    now: int = NOW
    tolerance: int = 300


def _with(**changes: str) -> dict[str, str]:
    return sign(SECRET) | {name.replace("_", "-"): value for name, value in changes.items()}


_RIGHT = sign(SECRET)["webhook-signature"]
CASES = {
    "one secret": WebhookCase(None),
    "signed with two, the old is known": WebhookCase(None, headers=sign(SECRET, OLD), secrets=[OLD]),
    "signed with the old, two are known": WebhookCase(None, headers=sign(OLD), secrets=[SECRET, OLD]),
    "the second signature is right": WebhookCase(None, headers=sign(OTHER, SECRET), secrets=[SECRET]),
    "names in any case": WebhookCase(None, headers={name.title(): text for name, text in sign(SECRET).items()}),
    "other versions": WebhookCase(None, headers=_with(webhook_signature=f"v2,AAAA v1a,BBBB {_RIGHT}")),
    "a clock that is behind": WebhookCase(None, headers=sign(SECRET, at=NOW + 300)),
    "a clock that is ahead": WebhookCase(None, headers=sign(SECRET, at=NOW - 300)),
    "another body": WebhookCase("no signature", body=BODY + " "),
    "another secret": WebhookCase("no signature", secrets=OTHER),
    "no secret": WebhookCase("no signature", secrets=[]),
    "another id": WebhookCase("no signature", headers=_with(webhook_id="msg_2")),
    "no id": WebhookCase("webhook-id is missing", headers=_with(webhook_id="")),
    "an empty signature": WebhookCase("no signature", headers=_with(webhook_signature="v1,")),
    "a signature without a version": WebhookCase("no signature", headers=_with(webhook_signature=_RIGHT[3:])),
    "a signature that is no ASCII": WebhookCase("no signature", headers=_with(webhook_signature="v1,\u00e9")),
    "a signed timestamp": WebhookCase("whole number", headers=_with(webhook_timestamp=f"+{NOW}")),
    "digits of another script": WebhookCase("whole number", headers=_with(webhook_timestamp="\u0661")),
    "too old": WebhookCase("300 seconds off", now=NOW + 301),
    "too new": WebhookCase("300 seconds off", now=NOW - 301),
    "too old for a tolerance of one's own": WebhookCase("10 seconds off", now=NOW + 11, tolerance=10),
}
