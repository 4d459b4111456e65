"""The Stripe emulator over HTTP, called by Stripe's own package."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
import stripe
from stripe import StripeClient

from tests.integration.emulators.emulated_shop import new_id
from tests.integration.emulators.stripe_shop import StripeShop, order, types, verify
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> StripeShop:
    return StripeShop(sandbox, receiver)


@pytest.fixture
def client(shop: StripeShop) -> StripeClient:
    return shop.client


def test_a_session_is_paid_and_reported(shop: StripeShop, client: StripeClient) -> None:
    payment_id = new_id()
    session = client.v1.checkout.sessions.create(order(payment_id))
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert (session.amount_total, session.currency, session.livemode) == (2500, "usd", False)
    assert requests.get(session.url or "", timeout=5).status_code == 200
    shop.happen(payment_id, "attempt", "pay")
    assert types(shop, 2) == ["checkout.session.completed", "payment_intent.payment_failed"]
    paid = client.v1.checkout.sessions.retrieve(session.id)
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    events = {event.type: event for event in (verify(shop, webhook) for webhook in shop.receiver.received)}
    reported = events["checkout.session.completed"].data.object
    assert (reported["id"], reported["payment_intent"]) == (session.id, paid.payment_intent)
    assert (reported["client_reference_id"], reported["amount_total"]) == (payment_id, 2500)
    failed = events["payment_intent.payment_failed"].data.object
    assert (failed["id"], failed["metadata"]["payment_id"]) == (paid.payment_intent, payment_id)
    assert failed["last_payment_error"]["type"] == "card_error"


def test_a_slow_method_is_complete_before_it_is_paid(shop: StripeShop, client: StripeClient) -> None:
    paid, failed = new_id(), new_id()
    for payment_id, end in ((paid, "pay"), (failed, "decline")):
        session = client.v1.checkout.sessions.create(order(payment_id))
        shop.happen(payment_id, "commit")
        shown = client.v1.checkout.sessions.retrieve(session.id)
        assert (shown.status, shown.payment_status) == ("complete", "unpaid")
        shop.happen(payment_id, end)
    assert types(shop, 4) == [
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.completed",
        "checkout.session.completed",
    ]


def test_a_session_ends_by_call_and_by_time(shop: StripeShop, client: StripeClient) -> None:
    payment_id, other = new_id(), new_id()
    session = client.v1.checkout.sessions.create(order(payment_id))
    assert client.v1.checkout.sessions.expire(session.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(session.id)
    second = client.v1.checkout.sessions.create(order(other))
    shop.happen(other, "expire")
    assert client.v1.checkout.sessions.retrieve(second.id).status == "expired"
    assert types(shop, 2) == ["checkout.session.expired"] * 2


def test_an_expiry_against_a_payment_of_the_same_moment_is_refused(shop: StripeShop, client: StripeClient) -> None:
    payment_id = new_id()
    shop.script(payment_id, cancel={"capture": True})
    session = client.v1.checkout.sessions.create(order(payment_id))
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(session.id)
    assert types(shop, 1) == ["checkout.session.completed"]


def test_a_key_replays_the_first_answer_and_refuses_other_parameters(shop: StripeShop, client: StripeClient) -> None:
    payment_id = new_id()
    asked: Any = order(payment_id)
    first, again = (client.v1.checkout.sessions.create(asked, {"idempotency_key": payment_id}) for _ in range(2))
    assert first.id == again.id
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError) as error:
        client.v1.checkout.sessions.create(asked | {"locale": "de"}, {"idempotency_key": payment_id})
    assert error.value.http_status == 400
    truth = shop.sandbox.truth(payment_id)
    assert len(truth["payments"]) == 1
    assert truth["create_calls"][0]["calls"] == 3


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"mode": "subscription"}, "mode"),
        ({"expires_at": 1}, "expires_at"),
        ({"success_url": None}, "success_url"),
        ({"success_url": "javascript:alert(1)"}, "success_url"),
        ({"amount": 5}, "amount"),
        ({"line_items": []}, "line_items"),
        ({"client_reference_id": "x" * 201}, "client_reference_id"),
        ({"metadata": {"k": "v" * 501}}, "metadata"),
    ],
)
def test_a_wrong_request_names_its_parameter(client: StripeClient, changes: dict[str, Any], param: str) -> None:
    asked = {name: value for name, value in order(new_id(), **changes).items() if value is not None}
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.checkout.sessions.create(asked)  # type: ignore[arg-type]
    assert (error.value.http_status, error.value.param) == (400, param)


@pytest.mark.parametrize(
    ("currency", "unit_amount", "asked"),
    [("jpy", 500, "500"), ("isk", 500, "5"), ("ugx", 500, "5"), ("mga", 5, "5.00"), ("kwd", 2500, "2.500")],
)
def test_amounts_have_stripes_digits(
    shop: StripeShop, client: StripeClient, currency: str, unit_amount: int, asked: str
) -> None:
    payment_id = new_id()
    price = {"currency": currency, "unit_amount": unit_amount, "product_data": {"name": "Deposit"}}
    items = [{"quantity": 1, "price_data": price}]
    session = client.v1.checkout.sessions.create(order(payment_id, line_items=items))
    assert session.amount_total == unit_amount
    assert shop.sandbox.truth(payment_id)["payments"][0]["amount"] == asked


@pytest.mark.parametrize(("currency", "unit_amount"), [("isk", 501), ("kwd", 2501), ("usd", 100_000_000), ("us", 5)])
def test_an_amount_that_stripe_does_not_take_is_refused(client: StripeClient, currency: str, unit_amount: int) -> None:
    price = {"currency": currency, "unit_amount": unit_amount, "product_data": {"name": "Deposit"}}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.create(order(new_id(), line_items=[{"quantity": 1, "price_data": price}]))


def test_lists_are_newest_first_and_in_pages(shop: StripeShop, client: StripeClient) -> None:
    began = int(time.time())
    made = [client.v1.checkout.sessions.create(order(new_id())).id for _ in range(3)]
    first = client.v1.checkout.sessions.list({"limit": 2, "created": {"gte": began}})
    assert ([each.id for each in first.data], first.has_more) == (made[:0:-1], True)
    assert [each.id for each in first.auto_paging_iter()] == made[::-1]
    assert client.v1.checkout.sessions.list({"created": {"lt": began}}).data == []


def test_refunds_are_made_listed_and_fail_later(shop: StripeShop, client: StripeClient) -> None:
    payment_id = new_id()
    session = client.v1.checkout.sessions.create(order(payment_id))
    shop.happen(payment_id, "pay")
    intent = str(client.v1.checkout.sessions.retrieve(session.id).payment_intent)
    asked: Any = {"payment_intent": intent, "amount": 700, "metadata": {"refund_id": "r1"}}
    first, again = (client.v1.refunds.create(asked, {"idempotency_key": "r1" + payment_id}) for _ in range(2))
    assert (first.id, first.status, first.amount) == (again.id, "succeeded", 700)
    client.v1.refunds.create({"payment_intent": intent})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent})
    listed = client.v1.refunds.list({"payment_intent": intent}).data
    assert [(each.amount, each.metadata and each.metadata.to_dict()) for each in listed] == [
        (1800, {}),
        (700, {"refund_id": "r1"}),
    ]
    shop.happen(payment_id, "fail_refund")
    assert client.v1.refunds.retrieve(listed[0].id).status == "failed"
    assert types(shop, 6) == [
        *["charge.refunded"] * 2,
        "checkout.session.completed",
        *["refund.created"] * 2,
        "refund.failed",
    ]
    totals = [
        event.data.object["amount_refunded"]
        for event in (verify(shop, webhook) for webhook in shop.receiver.received)
        if event.type == "charge.refunded"
    ]
    assert sorted(totals) == [700, 2500]


def test_disputes_withdraw_and_reinstate(shop: StripeShop, client: StripeClient) -> None:
    won, lost = new_id(), new_id()
    for payment_id, end in ((won, "win_dispute"), (lost, "lose_dispute")):
        client.v1.checkout.sessions.create(order(payment_id))
        shop.happen(payment_id, "pay", "dispute", end)
    assert types(shop, 9) == [
        *["charge.dispute.closed"] * 2,
        *["charge.dispute.created"] * 2,
        "charge.dispute.funds_reinstated",
        *["charge.dispute.funds_withdrawn"] * 2,
        *["checkout.session.completed"] * 2,
    ]
    assert sorted(each.status for each in client.v1.disputes.list().data) == ["lost", "won"]
    assert len({verify(shop, webhook).id for webhook in shop.receiver.received}) == 9


def test_the_sandbox_takes_no_live_key(shop: StripeShop) -> None:
    shop.key = "sk_live_1"
    with pytest.raises(Exception, match="must begin with sk_test_"):
        shop.put()


def test_a_key_opens_its_own_protocol_and_its_own_payments_only(
    sandbox: SandboxProcess, receiver: WebhookReceiver, shop: StripeShop
) -> None:
    payment_id, other = new_id(), StripeShop(sandbox, receiver)
    session = shop.client.v1.checkout.sessions.create(order(payment_id))
    shop.happen(payment_id, "pay", "dispute")
    (dispute,) = shop.client.v1.disputes.list().data
    assert other.client.v1.checkout.sessions.list().data == other.client.v1.disputes.list().data == []
    for call, name in (
        (other.client.v1.checkout.sessions.retrieve, session.id),
        (other.client.v1.refunds.retrieve, dispute.id),
        (shop.client.v1.refunds.retrieve, dispute.id),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            call(name)
    native = shop.open_client(sandbox.key)
    with pytest.raises(stripe.AuthenticationError):
        native.v1.checkout.sessions.list()
    answer = requests.get(sandbox.url + "/v1/payments", headers={"Authorization": f"Bearer {shop.key}"}, timeout=5)
    assert answer.status_code == 401
