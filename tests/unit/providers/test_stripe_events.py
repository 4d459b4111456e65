"""Stripe's events as facts, and what none is made of."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from app.core.errors import Unusable
from app.core.facts import DisputeState, Fact, FactKind
from app.providers import Asks, Ignored, Told
from app.providers.adapters.stripe.stripe_events import name_payment, translate
from app.providers.adapters.stripe.stripe_money_back import read_movements

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
REFUND = {"id": "re_1", "payment_intent": "pi_1", "charge": "ch_1", "amount": 500, "currency": "usd"}
DISPUTE = REFUND | {"id": "dp_1", "reason": "fraudulent", "evidence_details": {"due_by": 1_893_456_000}}
NAMED: dict[str, Any] = {"aliases": ("pi_1", "ch_1")}
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
    ],
)
@pytest.mark.parametrize("is_live", [False, True])
def test_each_event_is_a_fact(kind: str, shown: dict[str, Any], fact: Fact, is_live: bool) -> None:
    (told,) = translate(event(kind, shown, livemode=is_live))
    assert isinstance(told, Told)
    assert (told.name, told.is_live) == (PAYMENT, is_live)
    assert told.fact == fact
    assert name_payment({"data": {"object": shown}}) == PAYMENT


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("product.updated", {"id": "prod_1"}),
        ("charge.dispute.created", {"id": "dp_1"}),
        ("checkout.session.completed", SESSION | {"client_reference_id": None}),
        ("checkout.session.completed", SESSION | {"client_reference_id": "cart-7"} | OURS),
        ("charge.refunded", CHARGE),
        ("payment_intent.payment_failed", {"id": "pi_1", "metadata": {"payment_id": "7"}}),
    ],
)
def test_what_is_not_ours_or_of_no_interest_is_ignored(kind: str, shown: dict[str, Any]) -> None:
    (ignored,) = translate(event(kind, shown))
    assert isinstance(ignored, Ignored)


@pytest.mark.parametrize(
    ("kind", "shown", "more"),
    [
        ("charge.dispute.funds_withdrawn", {"id": "dp_1", "payment_intent": "pi_1"}, {}),
        ("refund.failed", {"id": "re_1", "payment_intent": "pi_1", "status": "failed"}, {}),
        ("charge.dispute.created", {"payment_intent": "pi_1"}, {}),
        ("checkout.session.completed", SESSION | {"amount_total": "2550"}, {}),
        ("checkout.session.completed", SESSION | {"currency": "xxx"}, {}),
        ("checkout.session.completed", SESSION | {"status": "open"}, {}),
        ("checkout.session.completed", SESSION | {"payment_status": "no_payment_required"}, {}),
        ("checkout.session.completed", SESSION | {"id": None}, {}),
        ("checkout.session.completed", SESSION, {"livemode": None}),
        ("refund.created", REFUND | {"amount": 501, "currency": "isk", "status": "succeeded"}, {}),
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


def moved(kind: FactKind, reversal_id: str) -> Fact:
    return Fact(kind, amount_minor=500, currency="USD", reversal_id=reversal_id, **NAMED)


def disputed(state: DisputeState) -> Fact:
    due_at = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    about: dict[str, Any] = {"reason": "fraudulent", "evidence_due_at": due_at, **NAMED}
    return Fact(FactKind.DISPUTE, dispute_id="dp_1", dispute_state=state, **about)


@pytest.mark.parametrize(
    ("kind", "shown", "facts"),
    [
        ("refund.created", REFUND | {"status": "pending"}, []),
        ("refund.created", REFUND | {"status": "succeeded"}, [moved(FactKind.REVERSED, "re_1")]),
        ("refund.updated", REFUND | {"status": "succeeded"}, [moved(FactKind.REVERSED, "re_1")]),
        (
            "refund.failed",
            REFUND | {"status": "failed"},
            [moved(FactKind.REINSTATED, "re_1"), moved(FactKind.REVERSED, "re_1")],
        ),
        ("charge.dispute.created", DISPUTE | {"status": "needs_response"}, [disputed("opened")]),
        ("charge.dispute.closed", DISPUTE | {"status": "won"}, [disputed("won")]),
        ("charge.dispute.closed", DISPUTE | {"status": "warning_closed"}, [disputed("won")]),
        ("charge.dispute.closed", DISPUTE | {"status": "lost"}, [disputed("lost")]),
        ("charge.dispute.closed", DISPUTE | {"status": "charge_refunded"}, []),
        ("charge.dispute.funds_withdrawn", DISPUTE, [moved(FactKind.REVERSED, "dp_1")]),
        (
            "charge.dispute.funds_reinstated",
            DISPUTE,
            [moved(FactKind.REINSTATED, "dp_1"), moved(FactKind.REVERSED, "dp_1")],
        ),
    ],
)
def test_money_that_goes_back_names_the_payment_intent(kind: str, shown: dict[str, Any], facts: list[Fact]) -> None:
    assert translate(event(kind, shown)) == [Told("pi_1", fact, is_live=False, may_be_foreign=True) for fact in facts]


def test_a_charge_that_was_refunded_is_a_hint() -> None:
    assert translate(event("charge.refunded", CHARGE | OURS)) == (Asks(PAYMENT),)


def test_an_inquiry_moves_nothing() -> None:
    disputes = [DISPUTE | {"status": status} for status in ("warning_needs_response", "lost", "won")]
    kinds = [one.kind for one in read_movements([REFUND | {"status": "failed"}], disputes)]
    assert kinds == ["reversed", "reinstated", "reversed", "reversed", "reinstated"]
