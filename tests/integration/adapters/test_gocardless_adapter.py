"""The adapter of GoCardless against the emulator, over HTTP."""

from __future__ import annotations

import uuid

import pytest
import requests
from gocardless_pro import webhooks

from app.core.errors import (
    OutcomeUnknown,
)
from app.core.facts import FactKind
from app.providers import Asks, Told
from app.providers.adapters.gocardless.gocardless_events import PAYMENTS
from models import new_id
from tests.integration.adapters.gocardless_merchant import make_refund, moved, open_merchant, paid
from tests.integration.adapters.merchant import Merchant
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    return open_merchant(sandbox, receiver)


def test_a_flow_that_was_lost_is_made_again(merchant: Merchant) -> None:
    payment_id = new_id()
    request = merchant.order(payment_id)
    wanted, _, _ = request.partition(b"\n")
    headers = {"Authorization": f"Bearer {merchant.shop.key}", "Idempotency-Key": str(payment_id)}
    url = f"{merchant.shop.url}/billing_requests"
    made = requests.post(url, wanted, headers=headers | {"Content-Type": "application/json"}, timeout=10).json()
    created = merchant.adapter.create(merchant.account, payment_id, request)
    assert (created.kind, created.reference) == (FactKind.ACCEPTED, made["billing_requests"]["id"])
    merchant.shop.happen(str(payment_id), "pay")
    assert merchant.adapter.create(merchant.account, payment_id, request) == paid(created.reference)


def test_an_id_without_a_time_is_looked_for_nowhere(merchant: Merchant) -> None:
    with pytest.raises(OutcomeUnknown):
        merchant.fetch(uuid.uuid4())


@pytest.mark.parametrize("status", ["confirmed", "paid_out"])
def test_each_status_of_a_payment_is_read(merchant: Merchant, status: str) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    shown = {"body.payments.status": status}
    merchant.shop.script(str(payment_id), fetch={"show": shown})
    fact = merchant.fetch(payment_id, reference)
    assert fact.kind is PAYMENTS[status]
    assert fact.aliases == paid(reference).aliases


@pytest.mark.parametrize("status", sorted(PAYMENTS.keys() - {"charged_back"}))
def test_each_status_of_a_payment_that_is_not_confirmed_is_read(merchant: Merchant, status: str) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "commit")
    merchant.shop.script(str(payment_id), fetch={"show": {"body.payments.status": status}})
    assert merchant.fetch(payment_id, reference).kind is PAYMENTS[status]


def test_a_refund_that_is_under_way_has_moved_nothing(merchant: Merchant) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    merchant.shop.script(str(payment_id), refund={"outcome": "pending"})
    make_refund(merchant, reference, 700, 700)
    assert moved(merchant.fetch(payment_id, reference)) == []
    merchant.shop.happen(str(payment_id), "settle_refund")
    assert moved(merchant.fetch(payment_id, reference)) == [("reversed", 700)]


def test_a_delivery_of_many_events_says_each(merchant: Merchant) -> None:
    payment_id = new_id()
    merchant.shop.script(str(payment_id), webhook={"join": 3})
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "attempt", "pay", "dispute")
    (webhook,) = merchant.shop.wait(1)
    assert merchant.verify(webhook)
    found = webhooks.parse(webhook.body, merchant.shop.secret, webhook.headers["webhook-signature"])
    events = merchant.translate(webhook)
    assert [event.event_id for event in events] == [event.id for event in found]
    told, *asks = [event for event in events if isinstance(event, Told | Asks)]
    assert isinstance(told, Told)
    assert (told.name, told.fact.kind) == (payment_id, FactKind.ATTEMPT_DECLINED)
    # Fulfilled, confirmed and charged back.
    assert [event.name for event in asks] == [payment_id] * 3
