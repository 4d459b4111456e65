"""What must hold between each payment and the audit: its path, its state, its entries, what users were told.

Every query takes `ids`, the payments to look at; the path takes `edges`, the steps that the state graph has.
"""

from __future__ import annotations

from app.core.payment import EDGES
from app.services.verification.checks import check, fill
from app.services.verification.drops import AUDIT_SINCE, DROPPED, NOTIFICATIONS_SINCE

EDGE_NAMES = sorted(f"{before} {after}" for before, after in EDGES)

_PARTS = {
    "these": "p.id = any(cast(:ids as uuid[]))",
    # Nothing is older than its payment; the day keeps what a clock that was set back has written. Without this bound
    # every partition would be looked into for every payment.
    "audited": "payment_transactions p join audit_logs a on a.tenant_id = p.tenant_id and a.payment_id = p.id"
    " and a.at >= p.created_at - interval '1 day'",
    "told_to": "payment_transactions p join notifications n on n.tenant_id = p.tenant_id and n.payment_id = p.id"
    " and n.id >= first_id(p.created_at - interval '1 day')",
    "since": fill(AUDIT_SINCE, tenant="p.tenant_id"),
    # A notification's id is made by a worker's clock, beside the database's: an hour is more than they ever differ.
    "told_since": fill(
        "greatest($audit, $notifications + interval '1 hour')",
        audit=fill(AUDIT_SINCE, tenant="p.tenant_id"),
        notifications=fill(NOTIFICATIONS_SINCE, tenant="p.tenant_id"),
    ),
    "dropped": fill(DROPPED, tenant="p.tenant_id", table="payment_webhooks", id="$webhook_id"),
    # A changed row may hold anything: what is no list has no entries, what is no id names nothing.
    "entries": "case when jsonb_typeof(a.detail->'entries') = 'array' then a.detail->'entries' else '[]' end",
    "entry": "case when jsonb_typeof(t.entry) = 'object' then t.entry else '{}' end",
    # What both entries of a transfer share is told once.
    "transfer": "case when jsonb_typeof(a.detail->'transfer') = 'object' then a.detail->'transfer' else '{}' end",
    "webhook_id": "case when a.detail->>'webhook_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
    " then (a.detail->>'webhook_id')::uuid end",
}
_PARTS["dropped"] = fill(_PARTS["dropped"], webhook_id=_PARTS["webhook_id"])
# The steps of a payment, in the order in which its locked row was written.
_PARTS["steps"] = fill(
    """
    select p.id as payment_id, p.created_at, $since as since, a.id, a.kind, a.payment_version as version,
           a.detail->>'from' as before, a.detail->>'to' as after, lag(a.payment_version) over history as version_before,
           lag(a.detail->>'to') over history as after_before, row_number() over history as place,
           lead(a.id) over history as next_id
    from $audited where $these and a.kind in ('payment_created', 'decision')
    window history as (partition by p.id order by a.id)
    """,
    **_PARTS,
)

HISTORY = (
    check(
        "I10",
        "a payment's history is a path in the state graph, and its versions rise by one",
        """
        select payment_id as subject, format('audit row %s: %s to %s as version %s, after %s as version %s', id, before,
            after, version, after_before, version_before) as detail
        from ($steps) as steps
        where (place = 1 and created_at >= since and (kind <> 'payment_created' or version is distinct from 1
               or after is distinct from 'pending'))
           or (place > 1 and (kind <> 'decision' or before is distinct from after_before or version is null
               or version - version_before not in (0, 1) or (before <> after and version = version_before)
               or after is null
               or (before <> after and not (before || ' ' || after = any(cast(:edges as text[]))))))
        """,
        **_PARTS,
    ),
    check(
        "I11",
        "a payment is as its last audit row says",
        """
        select p.id as subject, format('payment: %s, version %s; audit: %s, version %s', p.status, p.version, s.after,
            s.version) as detail
        from payment_transactions p left join ($steps) as s on s.payment_id = p.id and s.next_id is null
        where $these and (s.after is distinct from p.status or s.version is distinct from p.version)
          and (s.payment_id is not null or p.created_at >= $since)
        """,
        **_PARTS,
    ),
    check(
        "I11",
        "a payment is what its creation says",
        """
        select p.id as subject, format('%s %s for %s; audit: %s', p.amount_minor, p.currency, p.user_id, a.detail)
            as detail
        from $audited
        where $these and a.kind = 'payment_created'
          and (a.detail->>'amount_minor', a.detail->>'currency', a.detail->>'user_id', a.detail->>'provider_id')
              is distinct from (p.amount_minor::text, p.currency, p.user_id, p.provider_id::text)
        """,
        **_PARTS,
    ),
    check(
        "I11",
        "every entry is in one audit row with the same content, and the other way round",
        """
        with told as (
            select p.id as payment_id, a.id as audit_id, a.at, t.entry->>'id' as entry_id,
                   $transfer || $entry || jsonb_build_object('tenant_id', a.tenant_id, 'payment_id', a.payment_id)
                       as entry,
                   count(*) over (partition by t.entry->>'id') as times
            from $audited cross join lateral jsonb_array_elements($entries) as t(entry) where $these
        ), kept as (
            select e.id::text as entry_id, e.payment_id, e.at, to_jsonb(e) - 'at' as entry
            from wallet_transactions e join payment_transactions p on p.id = e.payment_id
            where e.payment_id = any(cast(:ids as uuid[])) and e.at >= $since
        )
        select coalesce(kept.entry_id, told.entry_id) as subject, format('payment %s: %s', coalesce(kept.payment_id,
            told.payment_id), case when kept.entry_id is null then 'the audit tells of an entry that is not there'
                when told.audit_id is null then 'the audit does not tell of it'
                when told.times > 1 then 'the audit tells of it more than once'
                else 'the audit row ' || told.audit_id || ' tells it otherwise' end) as detail
        from kept full join told on told.entry_id = kept.entry_id
        where kept.entry_id is null or told.audit_id is null or told.times > 1 or told.entry <> kept.entry
           or told.at <> kept.at
        """,
        **_PARTS,
    ),
    check(
        "I6",
        "a webhook has at most one effect",
        """
        select p.id as subject, format('webhook %s moved money %s times', a.detail->>'webhook_id', count(*)) as detail
        from $audited
        where $these and a.detail ? 'webhook_id' and a.detail ? 'entries'
        group by p.id, a.detail->>'webhook_id' having count(*) > 1
        """,
        **_PARTS,
    ),
    check(
        "I5",
        "a decision's webhook is in the inbox, of the same tenant and provider",
        # What an operator did may name no webhook (null), or one of another provider that names the payment: a redrive
        # decides nothing.
        """
        select p.id as subject, format('audit row %s names webhook %s', a.id, a.detail->>'webhook_id') as detail
        from $audited left join payment_webhooks h on h.id = $webhook_id
        where $these and a.detail->>'webhook_id' is not null
          and ((h.id is null and not $dropped) or h.tenant_id <> p.tenant_id or h.conflicts_with is not null
               or (a.kind = 'decision' and h.provider_id <> p.provider_id))
        """,
        **_PARTS,
    ),
    check(
        "I14",
        "every end that a user should see is told",
        """
        select p.id as subject, format('audit row %s: %s without a notification', a.id, a.detail->>'to') as detail
        from $audited
        where $these and a.kind = 'decision' and a.detail->>'from' <> a.detail->>'to'
          and a.detail->>'to' in ('completed', 'failed', 'cancelled') and a.detail->>'notification' is null
        """,
        **_PARTS,
    ),
    check(
        "I14",
        "every notification that was decided is there, and no other",
        """
        with told as (
            select p.id as payment_id, a.payment_version::text as version, a.detail->>'notification' as type,
                   count(*) as times
            from $audited where $these and a.detail->>'notification' is not null and a.at >= $told_since
            group by 1, 2, 3
        ), kept as (
            select p.id as payment_id, n.payload->>'version' as version, n.type, count(*) as times
            from $told_to
            where $these and n.user_id = p.user_id and n.payload->>'id' = p.id::text and n.at >= $told_since
            group by 1, 2, 3
        )
        select coalesce(told.payment_id, kept.payment_id) as subject, format('%s of version %s: decided %s, there %s',
            coalesce(told.type, kept.type), coalesce(told.version, kept.version), coalesce(told.times, 0),
            coalesce(kept.times, 0)) as detail
        from told full join kept using (payment_id, version, type) where told.times is distinct from kept.times
        """,
        **_PARTS,
    ),
    check(
        "I14",
        "every notification has its number or waits for it",
        """
        select n.id as subject, format('%s of payment %s', n.type, p.id) as detail
        from $told_to
        where $these
          and exists (select from notification_numbers d where d.notification_id = n.id and d.tenant_id = n.tenant_id
                      and d.user_id = n.user_id)
            = exists (select from notification_work w where w.notification_id = n.id and w.tenant_id = n.tenant_id)
        """,
        **_PARTS,
    ),
)
