"""The adapter of GoCardless against the emulator, over HTTP."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import requests
from gocardless_pro import webhooks

from app.core.errors import (
    OutcomeUnknown,
    ProviderCallFailed,
    ProviderRefusedUs,
    UnexpectedAnswer,
    WebhookRejected,
)
from app.core.facts import FactKind
from app.providers import Asks, Told
from app.providers.adapters.gocardless import gocardless_calls
from app.providers.adapters.gocardless.gocardless_events import PAYMENTS, REQUESTS
from models import new_id
from tests.integration.adapters.gocardless_merchant import make_refund, moved, open_merchant, paid, refund
from tests.integration.adapters.merchant import Merchant
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    return open_merchant(sandbox, receiver)


def test_the_same_bytes_twice_are_one_payment(merchant: Merchant) -> None:
    payment_id = new_id()
    request = merchant.order(payment_id)
    first, again = (merchant.adapter.create(merchant.account, payment_id, request) for _ in range(2))
    assert first == again
    assert first.kind is FactKind.ACCEPTED
    assert requests.get(str(first.redirect_url), timeout=5).status_code == 200
    assert len(merchant.shop.sandbox.truth(str(payment_id))["payments"]) == 1
    found = [merchant.fetch(payment_id, reference) for reference in (first.reference, None)]
    assert [(fact.kind, fact.reference) for fact in found] == [(FactKind.PENDING, first.reference)] * 2


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


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 422, "message": "redirect_uri is invalid"}, ProviderRefusedUs),
        ({"status": 409}, UnexpectedAnswer),
    ],
)
def test_a_failure_is_told_apart(merchant: Merchant, fault: dict[str, Any], error: type[ProviderCallFailed]) -> None:
    payment_id = new_id()
    merchant.shop.script(str(payment_id), create=fault)
    with pytest.raises(error) as failure:
        merchant.create(payment_id)
    assert failure.type is error


@pytest.mark.parametrize("status", sorted(REQUESTS.keys() - {"fulfilled"}))
def test_each_status_of_a_request_is_read(merchant: Merchant, status: str) -> None:
    payment_id = new_id()
    merchant.create(payment_id)
    merchant.shop.script(str(payment_id), fetch={"show": {"body.billing_requests.status": status}})
    assert merchant.fetch(payment_id, merchant.list()[0].reference).kind is REQUESTS[status]


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


def test_every_state_is_read(merchant: Merchant) -> None:
    settling, done, failed, ended = (new_id() for _ in range(4))
    references = {one: merchant.create(one).reference for one in (settling, done, failed, ended)}
    for one, actions in (
        (settling, ["attempt", "commit"]),
        (done, ["commit", "pay"]),
        (failed, ["commit", "decline"]),
        (ended, ["expire"]),
    ):
        merchant.shop.happen(str(one), *actions)
    facts = {one: merchant.fetch(one, reference) for one, reference in references.items()}
    assert (facts[settling].kind, facts[settling].settles_within_days) == (FactKind.COMMITTED, 14)
    assert facts[done] == paid(references[done])
    assert facts[failed].kind is FactKind.DECLINED
    assert facts[ended].kind is FactKind.CANCELLED


def test_a_refund_that_is_under_way_has_moved_nothing(merchant: Merchant) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    merchant.shop.script(str(payment_id), refund={"outcome": "pending"})
    make_refund(merchant, reference, 700, 700)
    assert moved(merchant.fetch(payment_id, reference)) == []
    merchant.shop.happen(str(payment_id), "settle_refund")
    assert moved(merchant.fetch(payment_id, reference)) == [("reversed", 700)]


def test_a_request_is_cancelled_once(merchant: Merchant) -> None:
    payment_id, other = new_id(), new_id()
    reference = merchant.create(payment_id).reference
    assert [merchant.cancel(payment_id, reference).kind for _ in range(2)] == [FactKind.CANCELLED] * 2
    merchant.shop.script(str(other), cancel={"capture": True})
    reference = merchant.create(other).reference
    assert merchant.cancel(other, reference) == paid(reference)


def test_the_list_is_the_truth(merchant: Merchant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gocardless_calls, "LIST_ROWS", 2)
    made = {payment_id: merchant.create(payment_id).reference for payment_id in (new_id() for _ in range(5))}
    first, *_ = made
    merchant.shop.happen(str(first), "pay")
    refund(merchant, made[first], 300, 300)
    rows = merchant.list()
    assert [(row.payment_id, row.reference) for row in rows] == list(made.items())[::-1]
    assert {(row.asked_minor, row.currency) for row in rows} == {(2500, "GBP")}
    assert (moved(rows[-1].fact), rows[-1].refunded_minor) == ([("reversed", 300)], 300)
    assert {(row.fact.kind, row.refunded_minor) for row in rows[:-1]} == {(FactKind.PENDING, 0)}
    assert merchant.fetch(first).reference == made[first]


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


def test_only_gocardless_own_events_are_believed(merchant: Merchant) -> None:
    payment_id = new_id()
    send: list[dict[str, Any]] = [{"signature": "forged", "attempts": 1}, {"signature": "missing", "attempts": 1}, {}]
    merchant.shop.script(str(payment_id), webhook={"send": send, "times": 1})
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "pay")
    forged, unsigned, good = merchant.shop.wait(3)
    for webhook in (forged, unsigned):
        with pytest.raises(WebhookRejected):
            merchant.verify(webhook)
    assert merchant.verify(good)
    with pytest.raises(WebhookRejected):
        merchant.verify(good, "another-secret-of-nobody-here")
    assert json.loads(good.body)["events"]
