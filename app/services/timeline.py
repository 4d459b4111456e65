"""Everything that happened to a payment, in order."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import text

from app.core.payments import format_time
from app.services.verdicts import Happened, order_verdicts
from models import Database

# Rows of one transaction share its time, so the source and the order within it follow the walk of the flow. What
# belongs to a payment is not older than it: the bound keeps the months before it from being looked into, its day is
# for clocks that differ.
_TIMELINE = text(
    """
    with payment as (select created_at from payment_transactions where tenant_id = :tenant_id and id = :payment_id)
    select at, place, sequence, kind, actor, detail from (
        select at, 3 as place, id as sequence, kind, actor, detail, payment_version
        from audit_logs where tenant_id = :tenant_id and payment_id = :payment_id
          and at >= (select created_at - interval '1 day' from payment)
        union all
        select received_at, 1, 0, 'webhook', 'provider:' || provider_id,
               jsonb_build_object('webhook_id', id, 'external_id', external_id, 'path', path, 'status', status,
                                  'verdict', verdict, 'reason', reason, 'settled_at', settled_at), null
        from payment_webhooks where tenant_id = :tenant_id and payment_id = :payment_id
          and id >= (select first_id(created_at - interval '1 day') from payment)
        union all
        -- Of a refused delivery only the first bytes are kept; that they name this payment is all they say.
        select at, 1, sequence, 'webhook_refused', 'system', jsonb_build_object('reason', reason), null
        from webhook_refusals
        where tenant_id = :tenant_id and position(convert_to(cast(:payment_id as text), 'UTF8') in body_head) > 0
        union all
        select e.at, 4, e.wallet_version, 'entry', 'system',
               jsonb_build_object('id', e.id, 'wallet', w.kind, 'type', e.type, 'currency', e.currency,
                                  'amount_minor', e.direction * e.amount_minor,
                                  'balance_after_minor', e.balance_after_minor), null
        from wallet_transactions e join wallets w on w.tenant_id = e.tenant_id and w.id = e.wallet_id
        where e.tenant_id = :tenant_id and e.payment_id = :payment_id
        union all
        select n.at, 5, coalesce(d.number, 0), 'notification', 'system',
               jsonb_build_object('id', d.number, 'type', n.type), null
        from notifications n
        left join notification_numbers d on d.tenant_id = n.tenant_id and d.notification_id = n.id
        where n.tenant_id = :tenant_id and n.payment_id = :payment_id
          and n.id >= (select first_id(created_at - interval '1 day') from payment)
        union all
        select created_at, 6, 0, 'dead_letter', 'system',
               jsonb_build_object('id', id, 'reason', reason, 'detail', detail, 'state', state), null
        from dead_letters where tenant_id = :tenant_id and payment_id = :payment_id
    ) as happened order by at, place, sequence
    """
)


def read_timeline(database: Database, tenant_id: uuid.UUID, payment_id: uuid.UUID) -> list[dict[str, Any]]:
    """Returns the payment's events as `{at, kind, actor, detail}`, oldest first.

    Kinds: payment_created, provider_call, webhook, webhook_settled (a verdict after a redrive), webhook_refused,
    decision, entry, notification, dead_letter, and operators' actions.
    """
    with database.transaction("web", tenant_id) as connection:
        rows = connection.execute(_TIMELINE, {"tenant_id": tenant_id, "payment_id": payment_id}).all()
    events = order_verdicts([Happened(*row) for row in rows])
    return [{"at": format_time(one.at), "kind": one.kind, "actor": one.actor, "detail": one.detail} for one in events]
