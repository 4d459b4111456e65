"""Registers our address for PayPal's webhooks, whose id at PayPal is what signs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.providers.adapter import Account
from app.providers.adapters.paypal.paypal_events import EVENTS
from app.providers.calls.answer_fields import read_kept_id
from app.providers.calls.http_adapter import read_list, read_object
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.connectable import Registration, keep_registration

PATH = "/v1/notifications/webhooks"
_REMAINING = "nothing: PayPal sends the events that Sluice reads"


def register(send: Callable[..., ProviderAnswer], account: Account, webhook_url: str) -> Registration:
    """Add a webhook to the app, unless it has one of this URL, whose id can be read. Raise ProviderCallFailed."""
    for shown in read_list(read_object(send(account, "GET", PATH)), "webhooks"):
        if shown.get("url") == webhook_url:
            webhook_id = read_kept_id(shown)
            return Registration(webhook_id, webhook_id, keep_registration("", _names(shown), EVENTS).remaining)
    fields = {"url": webhook_url, "event_types": [{"name": name} for name in EVENTS]}
    body = read_object(send(account, "POST", PATH, json.dumps(fields).encode("ascii")), (200, 201))
    if body.get("url") != webhook_url:
        raise UnexpectedAnswer("the provider's webhook has another URL", "url")
    webhook_id = read_kept_id(body)
    return Registration(webhook_id, webhook_id, _REMAINING)


def _names(shown: dict[str, Any]) -> list[object]:
    types = shown.get("event_types")
    return [one.get("name") for one in types if isinstance(one, dict)] if isinstance(types, list) else []
