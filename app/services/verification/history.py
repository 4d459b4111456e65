"""Checks of each payment against the audit: its path, state, entries, webhooks and notifications.

Each query takes `ids`, the payments to check; the first also takes `edges`, the steps of the state graph.
"""

from __future__ import annotations

from functools import partial

from app.core.payment import EDGES
from app.services.verification import checks
from app.services.verification.checks import fill
from app.services.verification.drops import AUDIT_SINCE, DROPPED, NOTIFICATIONS_SINCE

EDGE_NAMES = sorted(f"{before} {after}" for before, after in EDGES)

_PARTS = {
    "these": "p.id = any(cast(:ids as uuid[]))",
    # Nothing is older than its payment, which spares the scan of older partitions. The day allows for a clock that was
    # set back.
    "audited": "payment_transactions p join audit_logs a on a.tenant_id = p.tenant_id and a.payment_id = p.id"
    " and a.at >= p.created_at - interval '1 day'",
    "notified": "payment_transactions p join notifications n on n.tenant_id = p.tenant_id and n.payment_id = p.id"
    " and n.id >= first_id(p.created_at - interval '1 day')",
    "since": fill(AUDIT_SINCE, tenant="p.tenant_id"),
    # A notification's id comes from a worker's clock, its audit row's time from the database's. They differ by less
    # than an hour.
    "notified_since": fill(
        "greatest($audit, $notifications + interval '1 hour')",
        audit=fill(AUDIT_SINCE, tenant="p.tenant_id"),
        notifications=fill(NOTIFICATIONS_SINCE, tenant="p.tenant_id"),
    ),
    "dropped": fill(DROPPED, tenant="p.tenant_id", table="payment_webhooks", id="$webhook_id"),
    # A manipulated row may hold anything: a value of the wrong type counts as no entries or no id.
    "entries": "case when jsonb_typeof(m.detail->'entries') = 'array' then m.detail->'entries' else '[]' end",
    "entry": "case when jsonb_typeof(t.entry) = 'object' then t.entry else '{}' end",
    # The fields that the entries share are written once; in older rows the amount is one of them.
    "transfer": "case when jsonb_typeof(m.detail->'transfer') = 'object' then m.detail->'transfer' else '{}' end",
    # What a decision moved of the user's money, and of money in suspense.
    "moved": "lateral (values (a.detail), (a.detail->'suspense')) as m(detail)",
    "webhook_id": "case when a.detail->>'webhook_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
    " then (a.detail->>'webhook_id')::uuid end",
}
_PARTS["dropped"] = fill(_PARTS["dropped"], webhook_id=_PARTS["webhook_id"])
# The audited steps of a payment, in the order in which its locked row was written.
_PARTS["steps"] = fill(
    """
    select p.id as payment_id, p.created_at, $since as since, a.id, a.kind, a.payment_version as version,
           a.detail->>'from' as before, a.detail->>'to' as after, lag(a.payment_version) over history as version_before,
           lag(a.detail->>'to') over history as after_before, row_number() over history as step,
           lead(a.id) over history as next_id
    from $audited where $these and a.kind in ('payment_created', 'decision')
    window history as (partition by p.id order by a.id)
    """,
    **_PARTS,
)
read_checks = partial(checks.read_checks, **_PARTS)

HISTORY = read_checks("""
    -- I10: a payment's history is a path in the state graph, and its versions rise by one
    select payment_id as subject, format('audit row %s: %s to %s as version %s, after %s as version %s', id, before,
        after, version, after_before, version_before) as detail
    from ($steps) as steps
    where (step = 1 and created_at >= since and (kind <> 'payment_created' or version is distinct from 1
           or after is distinct from 'pending'))
       or (step > 1 and (kind <> 'decision' or before is distinct from after_before or version is null
           or version - version_before not in (0, 1) or (before <> after and version = version_before)
           or after is null
           or (before <> after and not (before || ' ' || after = any(cast(:edges as text[]))))))

    -- I11: a payment is as its last audit row says
    select p.id as subject, format('payment: %s, version %s; audit: %s, version %s', p.status, p.version, s.after,
        s.version) as detail
    from payment_transactions p left join ($steps) as s on s.payment_id = p.id and s.next_id is null
    where $these and (s.after is distinct from p.status or s.version is distinct from p.version)
      and (s.payment_id is not null or p.created_at >= $since)

    -- I11: a payment is what its creation says
    select p.id as subject, format('%s %s for %s; audit: %s', p.amount_minor, p.currency, p.user_id, a.detail)
        as detail
    from $audited
    where $these and a.kind = 'payment_created'
      and (a.detail->>'amount_minor', a.detail->>'currency', a.detail->>'user_id', a.detail->>'provider_id')
          is distinct from (p.amount_minor::text, p.currency, p.user_id, p.provider_id::text)

    -- I11: every entry is in one audit row with the same content, and the other way round
    -- the entries that audit rows name
    with audited as (
        select p.id as payment_id, a.id as audit_id, a.at, t.entry->>'id' as entry_id,
               $transfer || $entry || jsonb_build_object('tenant_id', a.tenant_id, 'payment_id', a.payment_id)
                   as entry,
               count(*) over (partition by t.entry->>'id') as times
        from $audited cross join $moved cross join lateral jsonb_array_elements($entries) as t(entry) where $these
    -- the entries of the wallets
    ), booked as (
        select e.id::text as entry_id, e.payment_id, e.at, to_jsonb(e) - array['at', 'debit_id'] as entry
        from wallet_transactions e join payment_transactions p on p.id = e.payment_id
        where e.payment_id = any(cast(:ids as uuid[])) and e.at >= $since
    )
    select coalesce(b.entry_id, a.entry_id) as subject, format('payment %s: %s',
        coalesce(b.payment_id, a.payment_id),
        case when b.entry_id is null then 'the audit names an entry that does not exist'
             when a.audit_id is null then 'the audit does not name it'
             when a.times > 1 then 'the audit names it more than once'
             else 'it differs from audit row ' || a.audit_id end) as detail
    from booked b full join audited a on a.entry_id = b.entry_id
    where b.entry_id is null or a.audit_id is null or a.times > 1 or a.entry <> b.entry or a.at <> b.at

    -- I6: a webhook has at most one effect
    select p.id as subject, format('webhook %s moved money %s times', a.detail->>'webhook_id', count(*)) as detail
    from $audited
    where $these and a.detail ? 'webhook_id' and a.detail ?| array['entries', 'suspense']
    group by p.id, a.detail->>'webhook_id' having count(*) > 1

    -- I5: a decision's webhook is in the inbox, of the same tenant and provider
    -- An operator's action may name no webhook (null), or another provider's webhook that names the payment: a
    -- redrive decides nothing.
    select p.id as subject, format('audit row %s names webhook %s', a.id, a.detail->>'webhook_id') as detail
    from $audited left join payment_webhooks h on h.id = $webhook_id
    where $these and a.detail->>'webhook_id' is not null
      and ((h.id is null and not $dropped) or h.tenant_id <> p.tenant_id or h.conflicts_with is not null
           or (a.kind = 'decision' and h.provider_id <> p.provider_id))

    -- I14: every final state that a user should see has a notification
    select p.id as subject, format('audit row %s: %s without a notification', a.id, a.detail->>'to') as detail
    from $audited
    where $these and a.kind = 'decision' and a.detail->>'from' <> a.detail->>'to'
      and a.detail->>'to' in ('completed', 'failed', 'cancelled') and a.detail->>'notification' is null

    -- I14: the notifications that were decided exist, and no others
    -- the notifications that audit rows name
    with decided as (
        select p.id as payment_id, a.payment_version::text as version, a.detail->>'notification' as type,
               count(*) as times
        from $audited where $these and a.detail->>'notification' is not null and a.at >= $notified_since
        group by 1, 2, 3
    -- the notifications that exist
    ), existing as (
        select p.id as payment_id, n.payload->>'version' as version, n.type, count(*) as times
        from $notified
        where $these and n.user_id = p.user_id and n.payload->>'id' = p.id::text and n.at >= $notified_since
        group by 1, 2, 3
    )
    select payment_id as subject, format('%s of version %s: decided %s, existing %s', type, version,
        coalesce(decided.times, 0), coalesce(existing.times, 0)) as detail
    from decided full join existing using (payment_id, version, type)
    where decided.times is distinct from existing.times

    -- I14: every notification has its number or waits for it
    select n.id as subject, format('%s of payment %s', n.type, p.id) as detail
    from $notified
    where $these
      and case when n.number is null
          then exists (select from notification_numbers d where d.notification_id = n.id and d.is_queued
                       and d.tenant_id = n.tenant_id and d.user_id = n.user_id)
          else exists (select from notification_numbers d where d.tenant_id = n.tenant_id and d.number = n.number
                       and d.notification_id = n.id and d.user_id = n.user_id and not d.is_queued) end
        = exists (select from notification_work w where w.notification_id = n.id and w.tenant_id = n.tenant_id)
""")
