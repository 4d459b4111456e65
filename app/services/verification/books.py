"""Checks of wallets and their entries, webhooks, notification numbers, audit rows and waiting work.

Each query takes `ids`, the rows to check, unless the comment above its group names other parameters.
"""

from __future__ import annotations

from functools import partial

from app.services.verification import checks
from app.services.verification.checks import fill
from app.services.verification.drops import AUDIT_SINCE, DROPPED

read_checks = partial(checks.read_checks, these="any(cast(:ids as uuid[]))")

# Take `tenant_id`, null for all tenants; these read all rows of one moment.
SUMS = read_checks("""
    -- I1: the balances of all wallets of a tenant add up to zero in each currency
    select tenant_id as subject, format('%s %s too many', sum(balance_minor), currency) as detail from wallets
    where cast(:tenant_id as uuid) is null or tenant_id = :tenant_id
    group by tenant_id, currency having sum(balance_minor) <> 0

    -- I3: the suspense wallets of a provider hold what was booked there and neither went back nor was credited
    with known as (
        select p.tenant_id, p.provider_id, f.currency, f.suspended_minor - coalesce(f.credited_minor, 0)
            - case when f.status = 'completed' then f.amount_minor else 0 end as minor
        from refunds f join payment_transactions p on p.tenant_id = f.tenant_id and p.id = f.payment_id
        where f.suspended_minor is not null and (cast(:tenant_id as uuid) is null or f.tenant_id = :tenant_id)
        union all
        select m.tenant_id, m.provider_id, m.currency,
               case when m.kind = 'reversed' then -m.suspense_minor else m.suspense_minor end
        from payment_movements m
        where m.suspense_minor > 0 and (cast(:tenant_id as uuid) is null or m.tenant_id = :tenant_id)
    ), held as (
        select tenant_id, provider_id, currency, sum(balance_minor) as minor from wallets
        where kind = 'suspense' and (cast(:tenant_id as uuid) is null or tenant_id = :tenant_id) group by 1, 2, 3
    )
    select provider_id as subject, format('%s %s in its suspense wallets, %s known', h.minor, currency, k.minor)
        as detail
    from held h full join (select tenant_id, provider_id, currency, sum(minor) as minor from known group by 1, 2, 3)
        as k using (tenant_id, provider_id, currency)
    where coalesce(h.minor, 0) <> coalesce(k.minor, 0)
""")

WALLETS = read_checks("""
    -- I2: a wallet's balance and version are those of its last entry
    select w.id as subject, format('wallet: %s, version %s; last entry: %s, version %s', w.balance_minor, w.version,
        coalesce(e.balance_after_minor, 0), coalesce(e.wallet_version, 0)) as detail
    from wallets w left join lateral (
        select e.balance_after_minor, e.wallet_version from wallet_transactions e
        where e.wallet_id = w.id order by e.wallet_version desc limit 1) as e on true
    where w.id = $these and (w.balance_minor, w.version)
        <> (coalesce(e.balance_after_minor, 0), coalesce(e.wallet_version, 0))
""")

# Take `wallets` and `versions`: the key columns of the rows, one array each.
ENTRIES = read_checks(
    """
    -- I2: each entry continues from the balance and the version of the one before
    select e.id as subject, format('wallet %s, version %s: %s, then %s; before: %s', e.wallet_id, e.wallet_version,
        e.balance_before_minor, e.balance_after_minor, coalesce(b.balance_after_minor::text, 'none')) as detail
    from $entries
    left join wallet_transactions b on b.wallet_id = e.wallet_id and b.wallet_version = e.wallet_version - 1
    where (e.balance_after_minor <> e.balance_before_minor + e.direction * e.amount_minor
        or e.balance_before_minor is distinct from
           case when e.wallet_version = 1 then 0 else b.balance_after_minor end)

    -- I2: a version of a wallet has one entry
    select e.id as subject, format('%s has version %s of wallet %s as well', o.id, e.wallet_version, e.wallet_id)
        as detail
    from $entries join wallet_transactions o
      on o.wallet_id = e.wallet_id and o.wallet_version = e.wallet_version and o.id <> e.id

    -- I3: the payment or debit of an entry exists
    select e.id as subject, format('payment %s, debit %s', e.payment_id, e.debit_id) as detail from $entries
    where (e.payment_id is null) = (e.debit_id is null)
       or e.payment_id is not null and not exists (select from payment_transactions p where p.id = e.payment_id)
       or e.debit_id is not null and not exists (select from debits d where d.id = e.debit_id)

    -- I13: an entry is of its wallet's tenant and currency
    select e.id as subject, format('wallet %s', e.wallet_id) as detail
    from $entries left join wallets w on w.id = e.wallet_id
    where (w.tenant_id, w.currency) is distinct from (e.tenant_id, e.currency)
""",
    entries="unnest(cast(:wallets as uuid[]), cast(:versions as bigint[])) as n(wallet_id, wallet_version)"
    " join wallet_transactions e on e.wallet_id = n.wallet_id and e.wallet_version = n.wallet_version",
)

# Take `transfers`: ids of transfers.
TRANSFERS = read_checks("""
    -- I1: a transfer has legs in users' wallets, and one of their sum that takes from a wallet of ours what they give
    -- Of ours: the spending wallet for debits and their reversals, a clearing wallet for all else, or the suspense
    -- wallet for a deposit. What moves money in suspense has legs there in place of users' wallets.
    select e.transfer_id as subject, format('%s legs, %s of them in wallets of ours, sum %s', count(*),
        count(*) filter (where w.kind <> 'user'), sum(e.direction * e.amount_minor)) as detail
    from wallet_transactions e left join wallets w on w.id = e.wallet_id
    cross join lateral (select case when e.type like 'suspense%' then 'suspense' else 'user' end as kind) as given
    where e.transfer_id = any(cast(:transfers as uuid[])) group by e.transfer_id
    having sum(e.direction * e.amount_minor) <> 0 or min(e.amount_minor) <= 0
        or count(distinct (e.tenant_id, e.currency, e.type)) <> 1
        or count(*) filter (where w.kind <> given.kind and w.kind = any(
            case when e.type in ('debit', 'debit_reversal') then array['spending']
                 when e.type = 'deposit' then array['clearing', 'suspense'] else array['clearing'] end)) <> 1
        or count(*) filter (where w.kind = given.kind) <> count(*) - 1
        or bool_or(((e.type not in ('reversal', 'refund', 'debit', 'suspense_refund', 'suspense_reversal'))
            = (w.kind = given.kind)) <> (e.direction = 1))
""")

WEBHOOKS = read_checks(
    """
    -- I5: a webhook's bytes are those that were answered
    select h.id as subject, format('%s of provider %s', h.external_id, h.provider_id) as detail
    from payment_webhooks h where h.id = $these and h.body_sha256 <> sha256(h.body)

    -- I5: a webhook has its key with the same hash
    select h.id as subject, format('%s of provider %s', h.external_id, h.provider_id) as detail
    from payment_webhooks h
    left join webhook_keys k on k.provider_id = h.provider_id and k.external_id = h.external_id
    where h.id = $these and h.conflicts_with is null
      and (k.tenant_id, k.body_sha256) is distinct from (h.tenant_id, h.body_sha256)

    -- I6: an id of a provider has one webhook that may have an effect
    select h.id as subject, format('the first of %s is %s', h.external_id, k.webhook_id) as detail
    from payment_webhooks h
    join webhook_keys k on k.provider_id = h.provider_id and k.external_id = h.external_id
    where h.id = $these and (coalesce(h.conflicts_with, h.id) <> k.webhook_id
        or (h.conflicts_with is not null
            and (h.body_sha256 = k.body_sha256 or h.verdict is distinct from 'conflict')))

    -- I5: a webhook waits as work, or is settled with a verdict
    select h.id as subject, format('%s, verdict %s, %s', h.status, h.verdict,
        case when w.webhook_id is null then 'not waiting' else 'waiting' end) as detail
    from payment_webhooks h left join webhook_work w on w.webhook_id = h.id and w.tenant_id = h.tenant_id
    where h.id = $these and ((h.status = 'pending') <> (w.webhook_id is not null)
        or (h.status <> 'pending' and (h.verdict is null or h.settled_at is null))
        or (h.status = 'failed') <> coalesce(h.status <> 'pending' and h.verdict = 'dead_letter', false))

    -- I5: a webhook that could not be used is a dead letter with its bytes
    select h.id as subject, coalesce(h.reason, '') as detail from payment_webhooks h
    where h.id = $these and h.status = 'failed'
      and not exists (select from dead_letters d where d.webhook_id = h.id and d.tenant_id = h.tenant_id
                      and d.body = h.body)
      and not exists (select from dead_letters d where d.tenant_id = h.tenant_id and d.payment_id = h.payment_id
                      and d.case_key is not null)

    -- I11: a webhook that was decided has its audit row
    select h.id as subject, format('%s, payment %s', h.verdict, h.payment_id) as detail
    from payment_webhooks h
    where h.id = $these and h.status = 'processed' and h.conflicts_with is null and h.payment_id is not null
      and h.settled_at >= $since
      and coalesce(h.reason, '') !~ '^([0-9]+ events, among them: |this event is settled$$)'
      and not exists (select from audit_logs a where a.tenant_id = h.tenant_id and a.payment_id = h.payment_id
          and a.at between h.received_at - interval '1 day' and h.settled_at + interval '1 day'
          and a.detail->>'webhook_id' = h.id::text and a.detail->>'verdict' = h.verdict)

    -- I13: a webhook is of its provider's tenant
    select h.id as subject, format('provider %s', h.provider_id) as detail
    from payment_webhooks h left join payment_providers p on p.id = h.provider_id
    where h.id = $these and p.tenant_id is distinct from h.tenant_id
    """,
    since=fill(AUDIT_SINCE, tenant="h.tenant_id"),
)

# Take `providers` and `externals`: the key columns of the rows, one array each.
KEYS = read_checks(
    """
    -- I5: every delivery that was answered has its webhook
    select k.webhook_id as subject, format('%s of provider %s', k.external_id, k.provider_id) as detail
    from unnest(cast(:providers as uuid[]), cast(:externals as text[])) as n(provider_id, external_id)
    join webhook_keys k on k.provider_id = n.provider_id and k.external_id = n.external_id
    left join payment_webhooks h on h.id = k.webhook_id
    where (h.tenant_id, h.provider_id, h.external_id, h.body_sha256)
        is distinct from (k.tenant_id, k.provider_id, k.external_id, k.body_sha256)
      and not (h.id is null and $dropped)
    """,
    dropped=fill(DROPPED, tenant="k.tenant_id", table="payment_webhooks", id="k.webhook_id"),
)

# Take `tenants` and `numbers`: the key columns of the rows, one array each.
NUMBERS = read_checks(
    """
    -- I14: a tenant's notifications are numbered 1, 2, 3, ... without a gap
    select format('tenant %s, number %s', d.tenant_id, d.number) as subject, 'no number before it' as detail
    from unnest(cast(:tenants as uuid[]), cast(:numbers as bigint[])) as d(tenant_id, number)
    where d.number <> 1 and not exists (select from notification_numbers b
        where b.tenant_id = d.tenant_id and b.number = d.number - 1)

    -- I14: every number has its notification, of the same tenant and user, about a payment of theirs
    -- A notification that was written with its number names it, so that no other number can be its own.
    select format('tenant %s, number %s', d.tenant_id, d.number) as subject, d.notification_id::text as detail
    from unnest(cast(:tenants as uuid[]), cast(:numbers as bigint[])) as k(tenant_id, number)
    join notification_numbers d on d.tenant_id = k.tenant_id and d.number = k.number
    left join notifications n on n.id = d.notification_id
    left join payment_transactions p on p.id = n.payment_id
    where (n.tenant_id, n.user_id, p.tenant_id, p.user_id, n.number) is distinct from
        (d.tenant_id, d.user_id, d.tenant_id, d.user_id, case when not d.is_queued then d.number end)
      and not (n.id is null and $dropped)
    """,
    dropped=fill(DROPPED, tenant="d.tenant_id", table="notifications", id="d.notification_id"),
)

COUNTERS = read_checks("""
    -- I14: a tenant's counter of notifications is at the last number
    select t.id as subject, format('counter %s, last number %s', c.last_number, d.number) as detail
    from tenants t left join notification_counters c on c.tenant_id = t.id
    left join lateral (select number from notification_numbers d where d.tenant_id = t.id
                       order by number desc limit 1) as d on true
    where t.id = $these and coalesce(c.last_number, 0) <> coalesce(d.number, 0)
""")

# Take `ids`, the audit rows, and `first` and `last`, the lowest and the highest of them.
AUDIT = read_checks("""
    -- I11: every audit row is in one seal
    with audited as materialized (
        select id, tenant_id, at, kind from audit_logs where id = any(cast(:ids as bigint[]))
    ), sealed as (
        -- the rows of seals that have the time of one of the rows
        select s.tenant_id, s.sealed_at as at, r.audit_id
        from (select distinct tenant_id, at from audited) as t
        join audit_seals s on s.tenant_id = t.tenant_id and s.chain > 0 and s.sealed_at = t.at
        cross join lateral unnest(s.audit_ids) as r(audit_id)
        union all
        -- seals of chain 0 have rows of several times: those within the range of ids
        select s.tenant_id, null, r.audit_id from audit_seals s cross join lateral unnest(s.audit_ids) as r(audit_id)
        where s.chain = 0 and s.last_audit_id >= :first and s.first_audit_id <= :last
          and s.tenant_id in (select tenant_id from audited)
    )
    select a.id as subject, format('%s, in %s seals', a.kind, count(s.audit_id)) as detail
    from audited a
    left join sealed s on s.tenant_id = a.tenant_id and s.audit_id = a.id and (s.at is null or s.at = a.at)
    group by a.id, a.tenant_id, a.at, a.kind having count(s.audit_id) <> 1

    -- I11: the payment of an audit row exists
    select a.id as subject, format('%s of payment %s', a.kind, a.payment_id) as detail from audit_logs a
    where a.id = any(cast(:ids as bigint[])) and a.kind in ('payment_created', 'decision', 'provider_call')
      and not exists (select from payment_transactions p where p.tenant_id = a.tenant_id and p.id = a.payment_id)

    -- I11: the debit of an audit row exists
    select a.id as subject, format('%s of debit %s', a.kind, a.detail->>'debit_id') as detail from audit_logs a
    where a.id = any(cast(:ids as bigint[])) and a.kind in ('debit_created', 'debit_reversed')
      and not exists (select from debits d where d.tenant_id = a.tenant_id and d.id::text = a.detail->>'debit_id'
          and a.at = case a.kind when 'debit_created' then d.created_at else d.reversed_at end)
""")

# Take `tenant_id`; null reads the work of all tenants.
WAITING = read_checks("""
    -- I16: waiting work is about a row that exists and is not done yet
    select w.id::text as subject, w.kind as detail from (
        select w.webhook_id as id, 'webhook' as kind, w.tenant_id from webhook_work w where not exists (
            select from payment_webhooks h where h.id = w.webhook_id and h.status = 'pending')
        union all
        select w.payment_id, 'payment', w.tenant_id from payment_work w where not exists (
            select from payment_transactions p
            where p.id = w.payment_id and (p.status <> 'completed' or w.action in ('poll', 'refund')))
        union all
        select w.notification_id, 'notification', w.tenant_id from notification_work w where not exists (
            select from notifications n where n.id = w.notification_id)
    ) as w where cast(:tenant_id as uuid) is null or w.tenant_id = :tenant_id
""")
