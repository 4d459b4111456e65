"""Reads a payment's history for support: its timeline, and events that the tenant does not see."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import RowMapping, text

from app.core.payment import format_time
from app.core.reversals.disputes import present_dispute
from app.core.reversals.records import Dispute
from app.runtime.runtime import Runtime
from app.services.operators import queries

# A refused delivery is not verified, so it belongs to no payment: its bytes contain the payment's id.
_REFUSED = text(
    """
    select at, 'webhook_refused' as kind, 'system' as actor,
           jsonb_build_object('reason', reason, 'remote_address', remote_address) as detail
    from webhook_refusals where payment_id = :payment_id order by at, sequence
    """
)
_CLOSED = text(
    """
    select closed_at as at, 'dead_letter_closed' as kind, coalesce(closed_by, 'system') as actor,
           jsonb_build_object('id', id, 'reason', reason, 'state', state) as detail
    from dead_letters d where tenant_id = :tenant_id and payment_id = :payment_id and closed_at is not null
      and not exists (select from audit_logs a where a.tenant_id = d.tenant_id and a.payment_id = d.payment_id
                      and a.kind = 'dead_letter_' || d.state and a.detail->>'dead_letter_id' = d.id::text)
    order by closed_at, id
    """
)
# The entry that brought a wallet to zero or above again, after one of this payment had left it below.
_RESTORED = text(
    """
    select distinct n.at, 'wallet_restored' as kind, 'system' as actor,
           jsonb_build_object('type', n.type, 'currency', n.currency, 'balance_after_minor', n.balance_after_minor,
                              'payment_id', n.payment_id, 'debit_id', n.debit_id) as detail
    from wallet_transactions e join wallets w on w.tenant_id = e.tenant_id and w.id = e.wallet_id and w.kind = 'user'
    cross join lateral (
        select * from wallet_transactions l where l.wallet_id = e.wallet_id and l.wallet_version > e.wallet_version
            and l.balance_after_minor >= 0 order by l.wallet_version limit 1) as n
    where e.tenant_id = :tenant_id and e.payment_id = :payment_id and e.balance_after_minor < 0
    """
)
_DISPUTES = text(
    """
    select dispute_id, state, reason, evidence_due_at, opened_at, closed_at from payment_disputes
    where tenant_id = :tenant_id and payment_id = :payment_id order by opened_at, dispute_id
    """
)
_REPEATS = text(
    """
    select h.id, k.duplicates from payment_webhooks h
    join webhook_keys k on k.provider_id = h.provider_id and k.external_id = h.external_id and k.webhook_id = h.id
    where h.tenant_id = :tenant_id and h.id = any(cast(:webhook_ids as uuid[])) and k.duplicates > 0
    """
)


def read_story(runtime: Runtime, payment_id: uuid.UUID) -> dict[str, Any]:
    """Return `{payment, disputes, events}`, the events as `{at, kind, actor, detail}`, oldest first.

    In addition to the timeline: `dead_letter_closed` for those that no operator closed; `wallet_restored` where a later
    entry ended what one of this payment had left below zero; the sender's address of each `webhook_refused`, and
    `repeats` of each webhook, how often the same bytes were delivered again. Raise RequestRejected (404) where there is
    no such payment.
    """
    story = queries.show_payment(runtime, payment_id)
    webhook_ids = [event["detail"]["webhook_id"] for event in story["timeline"] if event["kind"] == "webhook"]
    tenant_id = story["payment"]["tenant_id"]
    parameters = {"tenant_id": tenant_id, "payment_id": payment_id}
    with runtime.database.transaction("operator") as connection:
        found = connection.execute(_REFUSED, {"payment_id": payment_id}).mappings().all()
        found = [*found, *connection.execute(_CLOSED, parameters).mappings()]
        found = [*found, *connection.execute(_RESTORED, parameters).mappings()]
        disputes = [Dispute(*row) for row in connection.execute(_DISPUTES, parameters)]
        received = connection.execute(_REPEATS, {"tenant_id": tenant_id, "webhook_ids": webhook_ids})
        repeats = {str(row.id): row.duplicates for row in received}
    # Refusals are read above for all tenants: one may name this payment and another tenant's provider.
    timeline = [event for event in story["timeline"] if event["kind"] != "webhook_refused"]
    events = [*timeline, *map(_event, found)]
    for event in events:
        if event["kind"] == "webhook":
            event["detail"]["repeats"] = repeats.get(event["detail"]["webhook_id"], 0)
    # The sort is stable: events of one moment stay in the order of the timeline.
    events.sort(key=lambda event: str(event["at"]))
    return {"payment": story["payment"], "disputes": list(map(present_dispute, disputes)), "events": events}


def _event(row: RowMapping) -> dict[str, Any]:
    return {"at": format_time(row["at"]), "kind": row["kind"], "actor": row["actor"], "detail": row["detail"]}
