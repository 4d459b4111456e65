"""End the wait of reversals whose money was not credited by the end of the payment's monitoring window."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, text

from app.core.facts import Fact, FactKind
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.webhooks.translate import name_provider

# Rows per transaction; the rest is due at the next housekeeping, a minute later.
ENDED_ROWS_MAX = 200

_DUE = text(
    """
    select v.tenant_id, v.payment_id, v.provider_id, v.reference, v.amount_minor, v.currency, v.webhook_id,
           h.body, h.headers
    from waiting_reversals v left join payment_webhooks h on h.id = v.webhook_id and h.tenant_id = v.tenant_id
    where v.due_at <= now() order by v.due_at limit :rows
    """
)


def end_waiting(runtime: Runtime) -> None:
    """Decide again the reversals whose payments' monitoring window is over; one that still waits is a dead letter."""
    with settlement.open(runtime, "worker") as batch:
        batch.settle([_item(row) for row in batch.connection.execute(_DUE, {"rows": ENDED_ROWS_MAX})])


def _item(row: Row[Any]) -> Item:
    fact = Fact(FactKind.REFUNDED, row.reference or None, amount_minor=row.amount_minor, currency=row.currency)
    evidence = (row.webhook_id, row.body and bytes(row.body), row.headers)
    return Item(row.tenant_id, row.payment_id, fact, name_provider(row.provider_id), row.provider_id, *evidence)
