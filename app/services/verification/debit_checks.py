"""Checks of each debit against its entries and its audit rows.

Each query takes `ids`, the debits to check.
"""

from __future__ import annotations

from app.services.verification.checks import fill, read_checks
from app.services.verification.drops import AUDIT_SINCE

DEBITS = read_checks(
    """
    -- I3: a debit has its two entries, and two more once it is reversed
    -- Out of its user's wallet into the tenant's spending wallet; the reversal the other way round.
    with wanted as (
        select d.id, d.tenant_id, d.user_id, d.currency, d.amount_minor, l.key, l.kind, l.direction, l.at
        from debits d cross join lateral (values
            ('debit', 'user', -1, d.created_at), ('debit', 'spending', 1, d.created_at),
            ('debit_reversal', 'user', 1, d.reversed_at), ('debit_reversal', 'spending', -1, d.reversed_at)
        ) as l(key, kind, direction, at)
        where d.id = $these and l.at is not null
    ), booked as (
        select e.debit_id as id, e.transfer_key as key, w.kind, e.direction, e.tenant_id, w.user_id, e.currency,
               e.amount_minor, e.type, e.at
        from wallet_transactions e left join wallets w on w.id = e.wallet_id where e.debit_id = $these
    )
    select coalesce(d.id, b.id) as subject, format('%s of %s, entry %s %s in wallet %s of %s', d.key, d.amount_minor,
        b.key, b.amount_minor, b.kind, b.user_id) as detail
    from wanted d full join booked b using (id, key, kind, direction)
    where d.tenant_id is null or b.tenant_id is null
       or (b.tenant_id, b.currency, b.amount_minor, b.type, b.at)
           is distinct from (d.tenant_id, d.currency, d.amount_minor, d.key, d.at)
       or b.user_id is distinct from case when kind = 'user' then d.user_id end

    -- I8: an idempotency key has one debit
    select d.id as subject, format('key %s has %s as well', d.idempotency_key, o.id) as detail
    from debits d join debits o
      on o.tenant_id = d.tenant_id and o.idempotency_key = d.idempotency_key and o.id <> d.id
    where d.id = $these

    -- I11: a debit and its reversal have one audit row each, with the content of their entries
    -- Audit rows have no index by debits: they are found by the seals that have the time of the transaction.
    with steps as (
        select d.id, d.tenant_id, d.user_id, d.reference, t.kind, t.key, t.at
        from debits d cross join lateral (values
            ('debit_created', 'debit', d.created_at), ('debit_reversed', 'debit_reversal', d.reversed_at)
        ) as t(kind, key, at)
        where d.id = $these and t.at >= $since
    )
    select p.id as subject, format('%s: %s audit rows', p.kind, a.times) as detail
    from steps p
    -- the audit rows of the step, and all entries that they name
    cross join lateral (
        select count(distinct a.id) as times,
               bool_and((a.detail->>'user_id', a.detail->>'reference') = (p.user_id, p.reference)) as fits,
               coalesce(jsonb_agg(a.transfer || t.entry order by t.entry->>'id')
                   filter (where t.entry is not null), '[]') as entries
        from (
            select a.id, a.detail, case when jsonb_typeof(a.detail->'transfer') = 'object' then a.detail->'transfer'
                                        else '{}' end as transfer
            from audit_seals s cross join lateral unnest(s.audit_ids) as r(audit_id)
            join audit_logs a on a.id = r.audit_id and a.at = p.at and a.tenant_id = p.tenant_id
            where s.tenant_id = p.tenant_id and s.chain > 0 and s.sealed_at = p.at and a.kind = p.kind
              and a.detail->>'debit_id' = p.id::text
        ) as a
        left join lateral jsonb_array_elements(case when jsonb_typeof(a.detail->'entries') = 'array'
            then a.detail->'entries' else '[]' end) as t(entry) on true
    ) as a
    -- the entries that the step has
    cross join lateral (
        select coalesce(jsonb_agg(to_jsonb(e) - array['at', 'tenant_id', 'payment_id', 'debit_id'] order by e.id::text),
            '[]') as entries
        from wallet_transactions e where e.debit_id = p.id and e.transfer_key = p.key
    ) as b
    where a.times <> 1 or a.fits is distinct from true or a.entries <> b.entries
    """,
    these="any(cast(:ids as uuid[]))",
    since=fill(AUDIT_SINCE, tenant="d.tenant_id"),
)
