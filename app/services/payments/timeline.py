"""Read the events of a payment from all tables, in order: for its tenant, or those that its user may see."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import text

from app.core.payment import format_time
from app.services.records.verdicts import HistoryRow, order_verdicts
from models import Database

# Rows of one transaction have the same time; they are ordered by their table (rank), then by the sequence within it.
# No row of a payment is older than the payment: the lower bound prunes the partitions of earlier months, with a day for
# clocks that differ.
_TIMELINE = text(
    """
    with payment as (select created_at from payment_transactions where tenant_id = :tenant_id and id = :payment_id)
    select at, rank, sequence, kind, actor, detail from (
        select at, 3 as rank, id as sequence, kind, actor, detail, payment_version
        from audit_logs where tenant_id = :tenant_id and payment_id = :payment_id
          and at >= (select created_at - interval '1 day' from payment)
        union all
        select received_at, 1, 0, 'webhook', 'provider:' || provider_id,
               jsonb_build_object('webhook_id', id, 'external_id', external_id, 'path', path, 'status', status,
                                  'verdict', verdict, 'reason', reason, 'settled_at', settled_at), null
        from payment_webhooks where tenant_id = :tenant_id and payment_id = :payment_id
          and id >= (select first_id(created_at - interval '1 day') from payment)
        union all
        -- A delivery with events of several payments has the id of the first: the others' decisions name it.
        select received_at, 1, 0, 'webhook', 'provider:' || provider_id,
               jsonb_build_object('webhook_id', id, 'external_id', external_id, 'path', path, 'status', status,
                                  'verdict', verdict, 'reason', reason, 'settled_at', settled_at), null
        from payment_webhooks where tenant_id = :tenant_id and payment_id is distinct from :payment_id
          and id >= (select first_id(created_at - interval '1 day') from payment)
          and id in (select cast(detail->>'webhook_id' as uuid) from audit_logs
                     where tenant_id = :tenant_id and payment_id = :payment_id and kind = 'decision'
                       and at >= (select created_at - interval '1 day' from payment))
        union all
        -- A refused delivery is not trusted: only the fact that its bytes name this payment is shown.
        select at, 1, sequence, 'webhook_refused', 'system', jsonb_build_object('reason', reason), null
        from webhook_refusals where tenant_id = :tenant_id and payment_id = :payment_id
        union all
        -- The payment's legs of its transfers, and their counter-entries, which another payment may have.
        select e.at, 4, e.wallet_version, 'entry', 'system',
               jsonb_build_object('id', e.id, 'transfer_id', e.transfer_id, 'wallet', w.kind, 'type', e.type,
                                  'currency', e.currency, 'amount_minor', e.direction * e.amount_minor,
                                  'balance_after_minor', e.balance_after_minor), null
        from wallet_transactions e join wallets w on w.tenant_id = e.tenant_id and w.id = e.wallet_id
        where e.tenant_id = :tenant_id and (e.payment_id = :payment_id or w.kind = 'clearing')
          and e.transfer_id in (select own.transfer_id from wallet_transactions own
                                where own.tenant_id = :tenant_id and own.payment_id = :payment_id)
        union all
        select n.at, 5, coalesce(n.number, d.number, 0), 'notification', 'system',
               jsonb_build_object('id', coalesce(n.number, d.number), 'type', n.type), null
        from notifications n
        left join notification_numbers d
            on n.number is null and d.is_queued and d.tenant_id = n.tenant_id and d.notification_id = n.id
        where n.tenant_id = :tenant_id and n.payment_id = :payment_id
          and n.id >= (select first_id(created_at - interval '1 day') from payment)
        union all
        select created_at, 6, 0, 'dead_letter', 'system',
               jsonb_build_object('id', id, 'reason', reason, 'detail', detail, 'state', state), null
        from dead_letters where tenant_id = :tenant_id and payment_id = :payment_id
    ) as happened order by at, rank, sequence
    """
)

# The user's own states and entries. Only the fields named here are shown: fields that audit rows gain later are not. Of
# a decision only the change of state is shown: reports of providers and operators, and cases, are for the tenant. The
# other entries of a transfer belong to wallets of the tenant.
_CLIENT_TIMELINE = text(
    """
    with payment as (
        select created_at from payment_transactions
        where tenant_id = :tenant_id and id = :payment_id and user_id = :user_id
    )
    select at, rank, sequence, kind, actor, detail from (
        select at, 3 as rank, id as sequence, kind,
               case when actor = 'user:' || cast(:user_id as text) then actor
                    when actor like 'key:%' then 'tenant' when actor like 'provider:%' then 'provider'
                    else 'system' end as actor,
               case when kind = 'payment_created'
                    then jsonb_build_object('user_id', detail->'user_id', 'amount_minor', detail->'amount_minor',
                                            'currency', detail->'currency', 'to', detail->'to')
                    else jsonb_build_object('from', detail->'from', 'to', detail->'to') end as detail
        from audit_logs where tenant_id = :tenant_id and payment_id = :payment_id
          and at >= (select created_at - interval '1 day' from payment)
          and (kind = 'payment_created' or (kind = 'decision' and detail->>'from' <> detail->>'to'))
        union all
        select e.at, 4, e.wallet_version, 'entry', 'system',
               jsonb_build_object('id', e.id, 'wallet', w.kind, 'type', e.type, 'currency', e.currency,
                                  'amount_minor', e.direction * e.amount_minor,
                                  'balance_after_minor', e.balance_after_minor)
        from wallet_transactions e join wallets w on w.tenant_id = e.tenant_id and w.id = e.wallet_id
        where e.tenant_id = :tenant_id and e.payment_id = :payment_id and w.kind = 'user' and w.user_id = :user_id
    ) as happened order by at, rank, sequence
    """
)


def read_timeline(
    database: Database, tenant_id: uuid.UUID, payment_id: uuid.UUID, user_id: str | None = None
) -> list[dict[str, Any]]:
    """Return the payment's events as `{at, kind, actor, detail}`, oldest first.

    With `user_id` only what that user's browser may see: payment_created, changes of state (decision) and entries of
    the user's own wallet, with actors `user:<id>`, `tenant`, `provider` and `system`. Without it everything.

    Kinds: payment_created, provider_call, webhook, webhook_settled (a verdict after a redrive), webhook_refused,
    decision, entry, notification, dead_letter, and operators' actions.
    """
    wanted = {"tenant_id": tenant_id, "payment_id": payment_id}
    with database.transaction("web", tenant_id) as connection:
        if user_id is None:
            rows = connection.execute(_TIMELINE, wanted).all()
        else:
            rows = connection.execute(_CLIENT_TIMELINE, wanted | {"user_id": user_id}).all()
    events = order_verdicts([HistoryRow(*row) for row in rows])
    return [{"at": format_time(one.at), "kind": one.kind, "actor": one.actor, "detail": one.detail} for one in events]
