"""Reversals that wait for the money they take back: their rows, and what becomes of one whose money never comes."""

from __future__ import annotations

from sqlalchemy import text

from app.core.facts import Fact, FactKind
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.after_commit import number, tell
from app.services.payments.settlement import Item
from app.services.webhooks.translate import name_provider

# One transaction's worth; the rest is due at the next housekeeping, a minute later.
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
    """Decide again the reversals whose payments' monitoring window is over: what waits still is a dead letter."""
    with runtime.database.transaction("worker", by_keys="few") as connection:
        rows = connection.execute(_DUE, {"rows": ENDED_ROWS_MAX}).all()
        items = [
            Item(
                row.tenant_id,
                row.payment_id,
                Fact(FactKind.REFUNDED, row.reference or None, amount_minor=row.amount_minor, currency=row.currency),
                name_provider(row.provider_id),
                row.provider_id,
                row.webhook_id,
                row.body and bytes(row.body),
                row.headers,
            )
            for row in rows
        ]
        outcomes = settlement.settle(connection, items) if items else []
        numbering = number(connection, outcomes)
    if outcomes:
        tell(runtime, outcomes, numbering)
