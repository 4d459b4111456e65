"""Requests for deposits, as the service takes them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from app.core.errors import RequestRejected
from app.services.access.callers import Caller
from app.services.payments import deposits
from app.services.payments.deposits import Creation, Deposit
from testbed.shop import Shop


def ask(key: str | None = None, **changes: Any) -> Deposit:
    """Return a request for 25.00 USD for ann with a key of its own, changed as given."""
    fields: dict[str, Any] = {
        "user_id": "ann",
        "amount_minor": 2500,
        "currency": "USD",
        "provider_id": None,
        "success_url": None,
        "failure_url": None,
        "metadata": {},
        "idempotency_key": key or secrets.token_hex(8),
        "request_sha256": bytes(32),
    }
    return Deposit(**(fields | changes))


def create(shop: Shop, key: str | None = None, caller: Caller | None = None, **changes: Any) -> Creation:
    """Ask for a deposit as the shop's backend, or as the caller that is given."""
    return deposits.create_deposit(shop.runtime, caller or shop.caller, ask(key, **changes))


def refused_fields(outcome: Callable[[], object]) -> set[str]:
    """Return the names of the fields that a refusal reports."""
    with pytest.raises(RequestRejected) as caught:
        outcome()
    assert caught.value.status == 422
    return {error["field"] for error in caught.value.errors or []}
