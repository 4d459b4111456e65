"""Every state that a provider publishes is one that its adapter and the conformance kit know.

`published_states.json` has the states of the specifications (collect_states.py writes it); Stripe's and Mollie's own
packages have theirs.
"""

from __future__ import annotations

import json
import typing
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
import stripe
from mollie.models.payment_response import PaymentResponseStatus
from mollie.models.refund_response import RefundResponseStatus
from mollie.models.webhook_event_types import WebhookEventTypes

from app.conformance.personalities import PERSONALITIES
from app.core.errors import UnexpectedAnswer
from app.core.facts import FactKind
from app.providers import Ignored
from app.providers.adapters.adyen import adyen_events
from app.providers.adapters.gocardless import gocardless_events
from app.providers.adapters.mollie import mollie_refunds, mollie_registration
from app.providers.adapters.paypal import paypal_events, paypal_refunds
from app.providers.adapters.paystack import paystack_events
from app.providers.adapters.razorpay import razorpay_events
from app.providers.adapters.stripe import stripe_money_back
from app.providers.calls.refund_answers import read_refund_state
from tests.unit.published.collect_states import PAGE, SOURCES

PUBLISHED: dict[str, dict[str, Any]] = json.loads(PAGE.read_text(encoding="utf-8"))
# Stripe's page for a session without an amount: deposits have one.
NOTHING_TO_PAY = "no_payment_required"
# Of no payment, of none that a link makes, or followed by another event that says what became of the money.
ADYEN_IGNORED = frozenset(
    (
        *("AUTHENTICATION", "AUTHORISATION_ADJUSTMENT", "AUTORESCUE", "CANCEL_AUTORESCUE", "CAPTURE"),
        *("HANDLED_EXTERNALLY", "INFORMATION_SUPPLIED", "ISSUER_COMMENTS", "MANUAL_REVIEW_ACCEPT"),
        *("MANUAL_REVIEW_REJECT", "NOTIFICATION_OF_FRAUD", "ORDER_CLOSED", "ORDER_OPENED", "PAYOUT_DECLINE"),
        *("PAYOUT_EXPIRE", "PAYOUT_THIRDPARTY", "POSTPONED_REFUND", "RECURRING_CONTRACT", "VOID_PENDING_REFUND"),
    )
)
MOLLIE_EVENTS = {
    each.value for each in WebhookEventTypes if each.value.partition(".")[0] in ("payment", "refund", "chargeback")
}
# Of a refund that has not left the account.
MOLLIE_IGNORED = frozenset(("refund.queued", "refund.pending", "refund.processing", "refund.canceled"))
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
MONEY = {"currency_code": "USD", "value": "25.00"}


def examined(provider: str, field: str) -> set[object]:
    """Return the values of a field that the kit examines."""
    states = PERSONALITIES[provider].traits.states
    return {fields[field] for fields, _ in states if field in fields}


def states(name: str) -> set[str]:
    """Return the states of a specification."""
    return set(PUBLISHED[name]["states"])


def words(model: type, field: str) -> set[str]:
    """Return the words that a field of one of Stripe's models may have."""
    return set(_literals(model.__annotations__[field]))


def _literals(hint: Any) -> typing.Iterator[str]:
    if typing.get_origin(hint) is typing.Literal:
        yield from typing.get_args(hint)
    for part in typing.get_args(hint):
        yield from _literals(part)


@pytest.mark.parametrize(
    ("known", "published"),
    [
        (examined("adyen", "status"), states("adyen link")),
        (examined("paypal", "status"), states("paypal order")),
        (examined("paystack", "data.status"), states("paystack transaction")),
        (examined("mollie", "status"), {status.value for status in PaymentResponseStatus}),
        (examined("stripe", "status"), words(stripe.checkout.Session, "status")),
        (examined("stripe", "payment_status"), words(stripe.checkout.Session, "payment_status") - {NOTHING_TO_PAY}),
        (paypal_refunds.STATES, states("paypal refund")),
        (mollie_refunds.STATES, {status.value for status in RefundResponseStatus}),
        ({*mollie_registration.EVENTS, *MOLLIE_IGNORED}, MOLLIE_EVENTS),
    ],
    ids=lambda value: None if isinstance(value, Mapping) else "-".join(sorted(map(str, value)))[:60],
)
def test_every_published_state_is_known(known: Collection[object], published: set[str]) -> None:
    assert published
    assert published - set(known) == set()


def test_every_event_of_adyen_is_read_or_left_on_purpose() -> None:
    def is_ignored(code: str) -> bool:
        fields = {"eventCode": code, "pspReference": "P1", "originalReference": "P0", "merchantReference": str(PAYMENT)}
        item = fields | {"success": "true", "amount": {"value": 2500, "currency": "EUR"}}
        found = adyen_events.translate({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})
        return isinstance(found[0], Ignored)

    assert {code for code in states("adyen event") if is_ignored(code)} == ADYEN_IGNORED


@pytest.mark.parametrize("status", sorted(states("paypal capture")))
def test_every_capture_of_paypal_is_read(status: str) -> None:
    capture = {"id": "C1", "status": status, "amount": MONEY}
    order = {"id": "O1", "status": "COMPLETED", "purchase_units": [{"payments": {"captures": [capture]}}]}
    kinds = {"PENDING": FactKind.COMMITTED, "DECLINED": FactKind.DECLINED, "FAILED": FactKind.DECLINED}
    assert paypal_events.read_order(order).kind is kinds.get(status, FactKind.SUCCEEDED)


@pytest.mark.parametrize("status", sorted(words(stripe.Dispute, "status")))
def test_every_dispute_of_stripe_is_read(status: str) -> None:
    shown = {"id": "du_1", "status": status, "amount": 2500, "currency": "usd", "charge": "ch_1"}
    ends = {"won": "won", "lost": "lost", "warning_closed": "won", "prevented": "won"}
    (report,) = stripe_money_back.read_disputes([shown])
    assert report.state == ends.get(status, "opened")
    moved = [one.kind for one in stripe_money_back.read_movements([], [shown])]
    takes_none = status.startswith("warning_") or status == "prevented"
    assert moved == ([] if takes_none else ["reversed", "reinstated"] if status == "won" else ["reversed"])


@pytest.mark.parametrize("status", sorted(states("paystack dispute")))
@pytest.mark.parametrize(
    ("resolution", "state"), [(None, "opened"), ("merchant-accepted", "lost"), ("declined", "won")]
)
def test_every_dispute_of_paystack_is_read(status: str, resolution: str | None, state: str) -> None:
    assert paystack_events.read_dispute({"id": 1, "status": status, "resolution": resolution}).dispute_state == state


@pytest.mark.parametrize(
    "read",
    [
        lambda: paystack_events.read_transaction({"reference": "T1", "status": "melted"}),
        lambda: razorpay_events.read_link({"id": "plink_1", "status": "melted"}),
        lambda: gocardless_events.read_request({"id": "BRQ1", "status": "melted"}),
        lambda: read_refund_state({"status": "melted"}, paypal_refunds.STATES, "R1"),
    ],
)
def test_a_state_that_nobody_publishes_is_unusable(read: Callable[[], object]) -> None:
    with pytest.raises(UnexpectedAnswer):
        read()


def test_the_page_names_its_sources() -> None:
    assert PUBLISHED.keys() == SOURCES.keys()
    assert all(row["source"] == SOURCES[name][0] and row["version"] for name, row in PUBLISHED.items())
