"""Stripe's events as facts, and what none is made of."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.core.errors import Unusable
from app.core.facts import Fact, FactKind
from app.providers import Ignored, Told
from app.providers.adapters.stripe.stripe_events import name_payment, translate

PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")


def event(kind: str, shown: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "evt_1", "type": kind, "livemode": False, "data": {"object": shown}} | more


SESSION = {
    "id": "cs_test_1",
    "client_reference_id": str(PAYMENT),
    "status": "complete",
    "payment_status": "paid",
    "payment_intent": "pi_1",
    "amount_total": 2550,
    "currency": "usd",
}
PAID = Fact(FactKind.SUCCEEDED, "cs_test_1", amount_minor=2550, currency="USD", aliases=("pi_1",))
CHARGE = {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 500, "currency": "isk"}
OURS = {"metadata": {"payment_id": str(PAYMENT)}}


@pytest.mark.parametrize(
    ("kind", "shown", "fact"),
    [
        ("checkout.session.completed", SESSION, PAID),
        ("checkout.session.async_payment_succeeded", SESSION, PAID),
        (
            "checkout.session.completed",
            SESSION | {"payment_status": "unpaid"},
            Fact(FactKind.COMMITTED, "cs_test_1", settles_within_days=14, aliases=("pi_1",)),
        ),
        (
            "checkout.session.async_payment_failed",
            SESSION | {"payment_status": "unpaid"},
            Fact(FactKind.DECLINED, "cs_test_1", aliases=("pi_1",)),
        ),
        (
            "checkout.session.expired",
            SESSION | {"status": "expired", "payment_status": "unpaid", "payment_intent": None},
            Fact(FactKind.CANCELLED, "cs_test_1", is_expiry=True),
        ),
        (
            "payment_intent.payment_failed",
            {"id": "pi_1", "last_payment_error": {"message": "No cover on 4242424242424242."}} | OURS,
            Fact(FactKind.ATTEMPT_DECLINED, message="No cover on [card ...4242].", aliases=("pi_1",)),
        ),
        (
            "charge.refunded",
            CHARGE | OURS,
            Fact(FactKind.REFUNDED, amount_minor=5, currency="ISK", aliases=("pi_1", "ch_1")),
        ),
    ],
)
@pytest.mark.parametrize("is_live", [False, True])
def test_each_event_is_a_fact(kind: str, shown: dict[str, Any], fact: Fact, is_live: bool) -> None:
    told = translate(event(kind, shown, livemode=is_live))
    assert isinstance(told, Told)
    assert (told.name, told.is_live) == (PAYMENT, is_live)
    assert told.fact == fact
    assert name_payment({"data": {"object": shown}}) == PAYMENT


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("product.updated", {"id": "prod_1"}),
        ("charge.dispute.created", {"id": "dp_1", "payment_intent": "pi_1"}),
        ("charge.dispute.closed", {"id": "dp_1", "payment_intent": "pi_1", "status": "won"}),
        ("checkout.session.completed", SESSION | {"client_reference_id": None}),
        ("checkout.session.completed", SESSION | {"client_reference_id": "cart-7"} | OURS),
        ("charge.refunded", CHARGE),
        ("payment_intent.payment_failed", {"id": "pi_1", "metadata": {"payment_id": "7"}}),
    ],
)
def test_what_is_not_ours_or_of_no_interest_is_ignored(kind: str, shown: dict[str, Any]) -> None:
    assert isinstance(translate(event(kind, shown)), Ignored)


@pytest.mark.parametrize(
    ("kind", "shown", "more"),
    [
        ("charge.dispute.funds_withdrawn", {"id": "dp_1"}, {}),
        ("charge.dispute.funds_reinstated", {"id": "dp_1"}, {}),
        ("refund.failed", {"id": "re_1"}, {}),
        ("checkout.session.completed", SESSION | {"amount_total": "2550"}, {}),
        ("checkout.session.completed", SESSION | {"currency": "xxx"}, {}),
        ("checkout.session.completed", SESSION | {"status": "open"}, {}),
        ("checkout.session.completed", SESSION | {"payment_status": "no_payment_required"}, {}),
        ("checkout.session.completed", SESSION | {"id": None}, {}),
        ("checkout.session.completed", SESSION, {"livemode": None}),
        ("charge.refunded", CHARGE | OURS | {"amount_refunded": 501}, {}),
        ("checkout.session.completed", {}, {"data": None}),
    ],
)
def test_what_cannot_be_booked_is_for_a_person(kind: str, shown: dict[str, Any], more: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        translate(event(kind, shown, **more))


@pytest.mark.parametrize(
    "body", [None, [], {}, {"data": 1}, {"data": {"object": 1}}, {"data": {"object": {"metadata": 1}}}]
)
def test_a_body_that_names_nothing_names_nothing(body: object) -> None:
    assert name_payment(body) is None


def test_a_dispute_names_the_payment_intent() -> None:
    assert name_payment({"data": {"object": {"id": "dp_1", "payment_intent": "pi_1"}}}) == "pi_1"
