"""Paystack signs webhooks with our API key: it is asked for once, and replaced with an overlap."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
import requests

from app.local.emulated_accounts import EMULATED
from testbed.stack import Stack
from tests.integration.adapters.operator import Operator


@pytest.fixture
def operator(working: Stack) -> Operator:
    """Provide an operator with a provider of their own, whose webhooks come to Sluice."""
    made = Operator(working, "paystack")
    made.put_merchant(made.account)
    return made


def deliver(operator: Operator, key: str) -> int:
    """Send an event that is signed with a key; return the status of the answer."""
    body = json.dumps({"event": "transfer.success", "data": {"id": 1, "domain": "test", "signed_with": key[-6:]}})
    signature = hmac.new(key.encode(), body.encode(), hashlib.sha512).hexdigest()
    headers = {"Content-Type": "application/json", "x-paystack-signature": signature}
    url = f"{operator.stack.web}/webhooks/{operator.provider_id}"
    return requests.post(url, body, headers=headers, timeout=10).status_code


def test_the_key_is_asked_for_once(operator: Operator) -> None:
    assert operator.made["webhook_secret"] is None
    assert operator.key not in json.dumps(operator.made)
    assert operator.check()["webhook secret"] == ("ok", "1 valid")
    operator.pay()


def test_webhooks_follow_a_new_key_with_an_overlap(operator: Operator) -> None:
    old, new = operator.account, EMULATED["paystack"]()
    changed = operator.json("providers", "update", operator.provider_id, SLUICE_PROVIDER_API_KEY=new.api_key)["changed"]
    assert changed == ["api_key", "webhook_secret"]
    operator.put_merchant(new)
    ended, current = operator.secrets()
    assert (ended["is_active"], current["is_active"], current["ends_at"]) == (True, True, None)
    assert ended["ends_at"] is not None
    assert (deliver(operator, new.api_key), deliver(operator, old.api_key)) == (200, 200)
    assert deliver(operator, EMULATED["paystack"]().api_key) == 400
    operator.pay()


def test_another_secret_is_refused(operator: Operator, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(EMULATED["paystack"]().api_key)
    create = ("providers", "create", "--tenant", str(operator.shop.tenant_id), "other", "--adapter", "paystack")
    given = ("--webhook-secret-file", str(path), "--url", f"{operator.stack.sandbox.url}/paystack")
    said = operator.commands.error(*create, *given, SLUICE_PROVIDER_API_KEY=operator.key)
    assert "its webhooks are signed with api_key: name no other secret" in said
    rotated = operator.commands.error("providers", "rotate-secret", operator.provider_id)
    assert "replace that by `providers update`" in rotated
    assert len(operator.secrets()) == 1
