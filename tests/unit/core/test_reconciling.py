"""What is a difference between a payment and the provider's word about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.facts import Fact, FactKind
from app.core.payment import Payment, Status
from app.core.reconciliation import Difference, compare, missing_there
from tests.unit.core.payment_simulation import NOW, PAYMENT

OPEN = replace(PAYMENT, status=Status.PROCESSING, provider_reference="A")
COMPLETED = replace(
    OPEN, status=Status.COMPLETED, completed_at=NOW, received_minor=2500, received_currency="USD", reversed_minor=500
)
CANCELLED = replace(OPEN, status=Status.CANCELLED)
HELD = replace(CANCELLED, received_minor=1000, received_currency="USD")
CLOSED = replace(CANCELLED, session_closed=True)
PAID = Fact(FactKind.SUCCEEDED, "A", amount_minor=2500, currency="USD")
WAITING, DECLINED = Fact(FactKind.PENDING, "A"), Fact(FactKind.DECLINED, "A")


def differ(payment: Payment | None, fact: Fact, **changes: object) -> Difference | None:
    given: dict[str, object] = {
        "reference": "A",
        "asked": (2500, "USD"),
        "refunded_minor": 500 if payment is COMPLETED else 0,
        "payment_id": OPEN.id,
        "can_close": True,
    }
    return compare(payment, fact, **(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payment", "fact", "changes", "reason"),
    [
        (OPEN, WAITING, {}, None),
        (OPEN, PAID, {}, None),
        (COMPLETED, PAID, {}, None),
        (CANCELLED, DECLINED, {}, None),
        (CANCELLED, WAITING, {}, None),
        (HELD, replace(PAID, amount_minor=1000), {}, None),
        (HELD, PAID, {}, "state"),
        (CLOSED, WAITING, {}, "state"),
        (CLOSED, WAITING, {"can_close": False}, None),
        (CANCELLED, PAID, {}, "state"),
        (COMPLETED, WAITING, {}, "state"),
        (COMPLETED, DECLINED, {}, "state"),
        (COMPLETED, replace(PAID, amount_minor=2499), {}, "amount"),
        (COMPLETED, replace(PAID, currency="EUR"), {}, "currency"),
        (COMPLETED, PAID, {"refunded_minor": 600}, "amount"),
        (OPEN, WAITING, {"asked": (2400, "USD")}, "amount"),
        (OPEN, WAITING, {"asked": (2500, "EUR")}, "currency"),
        (None, WAITING, {}, "missing_here"),
        (OPEN, WAITING, {"reference": "B"}, "missing_here"),
    ],
)
def test_differences(payment: Payment | None, fact: Fact, changes: dict[str, object], reason: str | None) -> None:
    found, again = differ(payment, fact, **changes), differ(payment, fact, **changes)
    assert (found and found.reason) == reason
    assert found == again


def test_a_difference_has_a_key_of_its_own() -> None:
    found = [
        missing_there(OPEN),
        differ(None, PAID),
        differ(CANCELLED, PAID),
        differ(COMPLETED, PAID, refunded_minor=600),
        differ(COMPLETED, PAID, refunded_minor=700),
    ]
    assert len({one.key for one in found if one}) == len(found)
