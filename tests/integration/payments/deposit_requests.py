"""Deposits asked of the service, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.core.errors import RequestRejected
from app.services.access.callers import Caller
from app.services.payments import deposits
from app.services.payments.deposits import Creation
from testbed.shop import Shop, new_deposit


def create(shop: Shop, key: str | None = None, caller: Caller | None = None, **changes: Any) -> Creation:
    """Ask for a deposit as the shop's backend, or as the caller that is given."""
    return deposits.create_deposit(shop.runtime, caller or shop.caller, new_deposit(key, **changes))


def refused_fields(outcome: Callable[[], object]) -> set[str]:
    """Return the names of the fields that a refusal reports."""
    with pytest.raises(RequestRejected) as caught:
        outcome()
    assert caught.value.status == 422
    return {error["field"] for error in caught.value.errors or []}
