"""What a client token can read: its own user's states and money, and nothing of the tenant's business around them."""

from __future__ import annotations

import contextlib
import json
import secrets
import uuid

import pytest

from app.core.errors import WebhookRejected
from app.services.operators import resolve
from app.services.webhooks import receive
from app.services.webhooks.receive import Delivery
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.books import settle
from tests.support.clients.api import Api

PERSON = "operator:carol-of-accounting"


def refuse(shop: Shop, body: bytes, path: str = "payment-success") -> None:
    """Post a delivery with a wrong signature."""
    forged = shop.sign(body) | {"webhook-signature": "v1," + "A" * 43 + "="}
    provider_id = str(shop.provider_id) if path == "provider" else None
    with contextlib.suppress(WebhookRejected):
        receive.receive(shop.runtime, Delivery(path, provider_id, forged, body, "198.51.100.9"))


@pytest.fixture
def story(web_stack: Stack, shop: Shop) -> uuid.UUID:
    """Provide a payment of ann's that was underpaid, contradicted, refused at the door, and accepted by a person."""
    payment = shop.deposit(user_id="ann")
    refuse(shop, shop.body(payment, user_agent="stranger"))
    shop.deliver(shop.body(payment, amount="10.00", provider_reference="ref-1"))
    settle(shop.runtime)
    query = "select id from dead_letters where tenant_id = :tenant and payment_id = :payment"
    case = web_stack.databases.value(query, tenant=shop.tenant_id, payment=payment.id)
    resolve.accept(shop.runtime, shop.tenant_id, case, PERSON, False)
    shop.deliver(shop.body(payment, "failed", error_message="raw-provider-error", provider_reference="ref-1"))
    settle(shop.runtime)
    # Of another user, so that the tenant's clearing wallet holds more than ann's money.
    other = shop.deposit(user_id="bob", amount="4321.00")
    shop.deliver(shop.body(other, provider_reference="ref-2"))
    settle(shop.runtime)
    return payment.id


def test_a_clients_timeline_is_its_own_states_and_entries(web_stack: Stack, shop: Shop, story: uuid.UUID) -> None:
    path = f"/api/payments/{story}/timeline"
    events = Api(web_stack.web, shop.token("ann")).get(path).json()["data"]
    shown = [(event["kind"], event["actor"]) for event in events]
    # An operator decided, and that an operator did is nobody's business outside.
    assert shown == [("payment_created", "tenant"), ("decision", "system"), ("entry", "system")]
    assert events[0]["detail"] == {"user_id": "ann", "amount_minor": 2500, "currency": "USD", "to": "pending"}
    assert events[1]["detail"] == {"from": "pending", "to": "completed"}
    entry = events[2]["detail"]
    assert entry.pop("id")
    assert entry == {
        "wallet": "user",
        "type": "deposit",
        "currency": "USD",
        "amount_minor": 1000,
        "balance_after_minor": 1000,
    }
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


@pytest.mark.parametrize("role", ["admin", "operator", "shop", "read"])
def test_secret_keys_keep_the_full_view(web_stack: Stack, shop: Shop, story: uuid.UUID, role: str) -> None:
    events = Api(web_stack.web, shop.key(role)).get(f"/api/payments/{story}/timeline").json()["data"]
    kinds = {event["kind"] for event in events}
    assert kinds >= {
        "payment_created",
        "webhook",
        "webhook_refused",
        "decision",
        "entry",
        "notification",
        "dead_letter",
    }
    assert PERSON in {event["actor"] for event in events}
    assert {event["detail"]["wallet"] for event in events if event["kind"] == "entry"} == {"user", "clearing"}


def test_nothing_that_a_client_reads_reveals_others(web_stack: Stack, shop: Shop, story: uuid.UUID) -> None:
    client = Api(web_stack.web, shop.token("ann"))
    paths = [
        *(f"/api/payments/{story}", f"/api/payments/{story}/timeline", "/api/payments", "/api/events"),
        *("/api/wallets/ann", "/api/wallets/ann/transactions"),
    ]
    answers = [client.get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    text = " ".join(answer.text for answer in answers)
    for private in ("carol", "operator", "198.51.100.9", "raw-provider-error", "clearing", "4321", "432100", "bob"):
        assert private not in text, private
    # The clearing wallet's side, and what lies on it, is in no answer.
    assert "-1000" not in text


def test_the_users_own_acts_are_named_as_its_own(web_stack: Stack, shop: Shop) -> None:
    client = Api(web_stack.web, shop.token("ann"))
    payment = client.deposit().json()["id"]
    assert client.post(f"/api/payments/{payment}/cancel").status_code == 200
    events = client.get(f"/api/payments/{payment}/timeline").json()["data"]
    assert [(event["kind"], event["actor"]) for event in events] == [
        ("payment_created", "user:ann"),
        ("decision", "user:ann"),
    ]
    assert events[1]["detail"] == {"from": "pending", "to": "cancelled"}


@pytest.mark.parametrize("form", ["as JSON", "in upper case", "torn", "in another field", "at the provider's path"])
def test_a_refused_delivery_is_found_by_the_payment_that_it_names(web_stack: Stack, shop: Shop, form: str) -> None:
    payment = shop.deposit()
    body = shop.body(payment)
    if form == "in upper case":
        body = body.replace(str(payment.id).encode(), str(payment.id).upper().encode())
    elif form == "torn":
        body = body[: body.index(str(payment.id).encode()) + 36]
    elif form == "in another field":
        body = json.dumps({"data": {"metadata": {"order": str(payment.id)}}, "noise": str(uuid.uuid4())}).encode()
    refuse(
        shop, body, "provider" if form in ("torn", "in another field", "at the provider's path") else "payment-success"
    )
    query = "select payment_id, reason from webhook_refusals where provider_id = :id"
    assert web_stack.databases.rows(query, id=shop.provider_id) == [{"payment_id": payment.id, "reason": "signature"}]
    events = Api(web_stack.web, shop.secret_key).get(f"/api/payments/{payment.id}/timeline").json()["data"]
    assert [event["detail"] for event in events if event["kind"] == "webhook_refused"] == [{"reason": "signature"}]


def test_a_refused_delivery_that_names_no_payment_of_ours_keeps_none(web_stack: Stack, shop: Shop) -> None:
    body = json.dumps({"provider_id": str(shop.provider_id), "transaction_id": str(uuid.uuid4())}).encode()
    refuse(shop, body)
    query = "select payment_id from webhook_refusals where provider_id = :id"
    assert web_stack.databases.rows(query, id=shop.provider_id) == [{"payment_id": None}]


def test_the_timeline_reads_refusals_by_an_index(web_stack: Stack, shop: Shop) -> None:
    """A ring full of them must not be searched for each reader: its bytes are up to forty megabytes."""
    for _ in range(300):
        web_stack.databases.value(
            "select door_refuse_webhook(:id, 'signature', '192.0.2.1', :head, '{}')",
            id=shop.provider_id,
            head=secrets.token_bytes(64),
        )
    web_stack.databases.rows("analyze webhook_refusals")
    plan = web_stack.databases.rows(f"explain select 1 from webhook_refusals where payment_id = '{uuid.uuid4()}'")
    assert "ix_webhook_refusals_payment" in str(plan)
