"""Payments as reconciliation reads them, comparable with a row of the provider's list."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import RowMapping

from app.core.payment import Payment
from app.services.payments.rows import STORED, read_payment
from models import tables
from models.sql import columns, sql

# A row of the list is about one reference: reversals of the payment's other references are subtracted.
_REVERSED_ELSEWHERE = (
    "(select coalesce(sum(e.amount_minor), 0)::bigint from wallet_transactions e where e.payment_id = p.id"
    " and e.type = 'reversal' and e.direction = -1 and e.currency = p.received_currency"
    " and e.transfer_key like 'reversal:%:%') as reversed_elsewhere_minor"
)
# Whether an earlier run opened a case that is still open.
_CASE_OPEN = (
    "exists (select from dead_letters d where d.tenant_id = p.tenant_id"
    " and d.payment_id = p.id and d.kind = 'reconciliation' and d.state = 'open') as is_case_open"
)
_STORED = sql("{stored}", stored=columns(tables.payment_transactions.alias("p"), *STORED))
COLUMNS = f"{_STORED}, {_REVERSED_ELSEWHERE}, {_CASE_OPEN}"


def read_compared(row: RowMapping) -> Payment:
    """Return the payment in a row of COLUMNS; `has_open_case` means a case of reconciliation here."""
    payment = read_payment(row)
    reversed_minor = payment.reversed_minor - row["reversed_elsewhere_minor"]
    return replace(payment, reversed_minor=reversed_minor, has_open_case=row["is_case_open"])
