"""Where Adyen's webhooks are registered."""

from __future__ import annotations

import uuid

import pytest

from app.providers import Account
from app.providers.adapters.adyen.adyen_registration import find_management


@pytest.mark.parametrize(
    ("mode", "url"),
    [
        ("test", "https://management-test.adyen.com"),
        ("live", "https://management-live.adyen.com"),
        (None, "http://127.0.0.1:8001/adyen"),
    ],
)
def test_webhooks_are_registered_at_the_management_api_of_the_mode(mode: str | None, url: str) -> None:
    account = Account(uuid.uuid4(), "http://127.0.0.1:8001/adyen", {})
    assert find_management(account, mode).api_base_url == url
