"""End the wait of reversals whose money was not credited, and of reinstatements whose reversal never came, in time."""

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
    select v.*, h.body, h.headers from (
        select tenant_id, payment_id, provider_id, 'refunded' as kind, null as reversal_id, reference, amount_minor,
               currency, webhook_id, due_at
        from waiting_reversals where due_at <= now()
        union all
        select tenant_id, payment_id, provider_id, kind, reversal_id, reference, amount_minor, currency, webhook_id,
               due_at
        from payment_movements where due_at <= now()
    ) as v left join payment_webhooks h on h.id = v.webhook_id and h.tenant_id = v.tenant_id
    order by v.due_at limit :rows
    """
)


def end_waiting(runtime: Runtime) -> None:
    """Decide again what has waited until its time; what still waits is a dead letter then."""
    with settlement.open(runtime, "worker") as batch:
        batch.settle([_item(row) for row in batch.connection.execute(_DUE, {"rows": ENDED_ROWS_MAX})])


def _item(row: Row[Any]) -> Item:
    fact = Fact(
        FactKind(row.kind),
        row.reference or None,
        amount_minor=row.amount_minor,
        currency=row.currency,
        reversal_id=row.reversal_id,
    )
    evidence = (row.webhook_id, row.body and bytes(row.body), row.headers)
    return Item(row.tenant_id, row.payment_id, fact, name_provider(row.provider_id), row.provider_id, *evidence)
