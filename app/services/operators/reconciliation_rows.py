"""Payments as reconciliation reads them, comparable with a row of the provider's list."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import BigInteger, RowMapping, cast, func, select

from app.core.payment import Payment
from app.core.reversals.credited import sum_corrections
from app.services.payments.refund_rows import READ, read_refund
from app.services.payments.reversal_rows import read_dispute, read_movement
from app.services.payments.rows import STORED, read_payment
from models import tables
from models.sql import columns

_PAYMENTS, _LETTERS, _ENTRIES = tables.payment_transactions, tables.dead_letters, tables.wallet_transactions
# A row of the list is about one reference: reversals of the payment's other references are subtracted.
_REVERSED_ELSEWHERE = (
    select(cast(func.coalesce(func.sum(_ENTRIES.c.amount_minor), 0), BigInteger))
    .where(
        _ENTRIES.c.payment_id == _PAYMENTS.c.id,
        _ENTRIES.c.type == "reversal",
        _ENTRIES.c.direction == -1,
        _ENTRIES.c.currency == _PAYMENTS.c.received_currency,
        _ENTRIES.c.transfer_key.like("reversal:%:%"),
    )
    .scalar_subquery()
    .label("reversed_elsewhere_minor")
)
# Whether an earlier run opened a case that is still open.
_IS_CASE_OPEN = (
    select(_LETTERS.c.id)
    .where(
        _LETTERS.c.tenant_id == _PAYMENTS.c.tenant_id,
        _LETTERS.c.payment_id == _PAYMENTS.c.id,
        _LETTERS.c.kind == "reconciliation",
        _LETTERS.c.state == "open",
    )
    .exists()
    .label("is_case_open")
)
_MOVED = tables.payment_movements
# In the order in which `read_movement` reads them.
_SHOWN = (
    *("kind", "reversal_id", "reference", "amount_minor", "currency", "state", "due_at", "webhook_id"),
    "suspense_minor",
)
_MOVEMENTS = func.array(
    select(func.jsonb_build_array(*columns(_MOVED, *_SHOWN)))
    .where(_MOVED.c.tenant_id == _PAYMENTS.c.tenant_id, _MOVED.c.payment_id == _PAYMENTS.c.id)
    .correlate(_PAYMENTS)
    .scalar_subquery()
).label("known_movements")
_DISPUTED = tables.payment_disputes
# In the order in which `read_dispute` reads them.
_MARKS = ("dispute_id", "state", "reason", "evidence_due_at", "opened_at", "closed_at")
_DISPUTES = func.array(
    select(func.jsonb_build_array(*columns(_DISPUTED, *_MARKS)))
    .where(_DISPUTED.c.tenant_id == _PAYMENTS.c.tenant_id, _DISPUTED.c.payment_id == _PAYMENTS.c.id)
    .correlate(_PAYMENTS)
    .scalar_subquery()
).label("known_disputes")
_REFUNDED = tables.refunds
# Those that a policy makes: what they gave back is in the provider's total, and in no column of the payment.
_REFUNDS = func.array(
    select(func.jsonb_build_array(*columns(_REFUNDED, *READ)))
    .where(_REFUNDED.c.tenant_id == _PAYMENTS.c.tenant_id, _REFUNDED.c.payment_id == _PAYMENTS.c.id)
    .where(_REFUNDED.c.suspended_minor.is_not(None))
    .order_by(_REFUNDED.c.created_at, _REFUNDED.c.id)
    .correlate(_PAYMENTS)
    .scalar_subquery()
).label("policy_refunds")
COMPARED = select(*columns(_PAYMENTS, *STORED), _REVERSED_ELSEWHERE, _IS_CASE_OPEN, _MOVEMENTS, _DISPUTES, _REFUNDS)


def read_compared(row: RowMapping) -> Payment:
    """Return the payment in a row of COMPARED; `has_open_case` means a case of reconciliation here."""
    payment = read_payment(row)
    reversed_minor = payment.reversed_minor - row["reversed_elsewhere_minor"]
    movements = tuple(map(read_movement, row["known_movements"]))
    disputes = tuple(map(read_dispute, row["known_disputes"]))
    refunds = tuple(map(read_refund, row["policy_refunds"]))
    payment = replace(payment, movements=movements, disputes=disputes, refunds=refunds)
    payment = replace(payment, has_open_case=row["is_case_open"])
    # The provider has not what a person has corrected.
    corrected = sum_corrections(payment)
    received_minor = None if payment.received_minor is None else payment.received_minor - corrected
    return replace(payment, reversed_minor=reversed_minor - corrected, received_minor=received_minor)
