"""Checks of each payment against its entries, hold, reversals, dead letters and work.

Each query takes `ids`, the payments to check.
"""

from __future__ import annotations

from functools import partial

from app.services.verification import checks

read_checks = partial(
    checks.read_checks,
    mine="payment_id = any(cast(:ids as uuid[]))",
    these="p.id = any(cast(:ids as uuid[]))",
    # Of a transfer's payments each has its leg in a user's wallet, and one has the leg in the clearing wallet as well.
    user_legs="wallet_transactions e join wallets w on w.id = e.wallet_id and w.kind = 'user'",
    own_legs="wallet_transactions e join wallets w on w.id = e.wallet_id and w.kind in ('user', 'suspense')",
)

MONEY = read_checks("""
    -- I3: a completed payment has one deposit credit, every other has none
    select p.id as subject, format('%s with %s deposit credits', p.status, count(w.id)) as detail
    from payment_transactions p
    left join wallet_transactions e on e.payment_id = p.id and e.transfer_key = 'deposit' and e.direction = 1
    left join wallets w on w.id = e.wallet_id and w.kind = 'user'
    where $these group by p.id having count(w.id) <> (p.status = 'completed')::integer

    -- I3: only completed payments have entries, but for those about money in suspense
    select p.id as subject, p.status as detail from payment_transactions p
    where $these and p.status <> 'completed'
      and exists (select from wallet_transactions e where e.payment_id = p.id and e.type not like 'suspense%')

    -- I3: a payment's entries are in its user's wallet and its provider's clearing and suspense wallets
    select e.id as subject, format('payment %s, wallet %s', p.id, w.id) as detail
    from payment_transactions p join wallet_transactions e on e.payment_id = p.id
    left join wallets w on w.id = e.wallet_id
    where $these and (w.id is null or w.currency <> e.currency
        or (w.kind = 'user' and w.user_id <> p.user_id)
        or (w.kind in ('clearing', 'suspense') and w.provider_id <> p.provider_id))

    -- I3: the credits of a payment's own reference add up to what was received
    -- Money under another reference is not part of received_minor. A case accepted before the payment had a
    -- reference was counted as another reference's, although it may be the one filled in later: both sums are right.
    -- What was put into suspense was received as well, and is credited where a person decided so.
    select p.id as subject, format('received %s %s, credited %s to %s, %s in suspense', p.received_minor,
        p.received_currency, c.surely, c.possibly, s.minor) as detail
    from payment_transactions p
    left join (
        select e.payment_id,
               sum(e.amount_minor) filter (where e.transfer_key = 'deposit' or d.case_reference is null) as surely,
               sum(e.amount_minor) filter (where e.transfer_key = 'deposit' or d.case_reference is null
                                           or d.case_reference = o.provider_reference) as possibly
        from $user_legs join payment_transactions o on o.id = e.payment_id and o.received_currency = e.currency
        left join dead_letters d on d.tenant_id = e.tenant_id and d.payment_id = e.payment_id
            and 'case:' || d.id = e.transfer_key
        where e.$mine and e.type = 'deposit' group by e.payment_id) as c on c.payment_id = p.id
    cross join lateral (
        select coalesce(sum(f.suspended_minor - coalesce(f.credited_minor, 0)), 0) as minor from refunds f
        where f.payment_id = p.id and f.suspended_minor is not null
          and (f.reference, f.currency) = (p.provider_reference, p.received_currency)) as s
    where $these and p.status = 'completed' and (c.surely is null or p.received_minor is null
        or p.received_minor - s.minor not between c.surely and c.possibly)

    -- I3: the reversals and refunds of a payment, less what came again, add up to what is reversed
    select p.id as subject, format('reversed %s, booked %s', p.reversed_minor, coalesce(sum(taken), 0)) as detail
    from payment_transactions p
    left join lateral (select -e.direction * e.amount_minor as taken from $user_legs
        where e.payment_id = p.id and e.type in ('reversal', 'reinstatement', 'refund')
          and e.currency = p.received_currency) as c on true
    where $these group by p.id having coalesce(sum(taken), 0) <> p.reversed_minor

    -- I3: a payment is marked as reversed while more went back than came again
    select p.id as subject, format('exceptions %s', p.exceptions) as detail from payment_transactions p
    where $these and ('reversed' = any(p.exceptions)) <> exists (
        select from $user_legs where e.payment_id = p.id and e.type in ('reversal', 'reinstatement')
          and e.transfer_key not like 'refund_failed:%'
        group by e.currency having sum(e.direction * e.amount_minor) < 0)

    -- I3: each booked movement has its entry, and each entry of a movement is a booked one
    -- The part of it that is of money in suspense has an entry there, with the key 'suspense_' and its own.
    select coalesce(m.payment_id, c.payment_id) as subject, format('%s %s %s %s, entry %s %s %s', m.state, m.kind,
        m.minor, m.currency, c.transfer_key, c.amount_minor, c.currency) as detail
    from (
        select payment_id, kind, reversal_id, state, currency, part.prefix || kind || ':' || reversal_id as key,
               part.minor
        from payment_movements cross join lateral (
            values ('', amount_minor - suspense_minor), ('suspense_', suspense_minor)) as part(prefix, minor)
        where $mine and part.minor > 0
    ) as m
    full join (
        select e.payment_id, e.transfer_key, e.amount_minor, e.currency, e.direction from $own_legs
        where e.$mine and e.transfer_key ~ '^(suspense_)?(reversed|reinstated):'
    ) as c on c.payment_id = m.payment_id and c.transfer_key = m.key
    where (m.state = 'booked' and c.payment_id is null)
       or c.payment_id is not null and (m.state, m.minor, m.currency, m.kind = 'reversed')
           is distinct from ('booked', c.amount_minor, c.currency, c.direction = -1)

    -- I3: reversals wait with exactly the payments that say so
    select p.id as subject, format('%s wait, exceptions %s', v.waiting, p.exceptions) as detail
    from payment_transactions p
    cross join lateral (
        select count(*) as waiting, count(*) filter (where r.tenant_id <> p.tenant_id) as foreign_rows
        from waiting_reversals r where r.payment_id = p.id) as v
    where $these and ((v.waiting > 0) <> ('reversal_waiting' = any(p.exceptions)) or v.foreign_rows > 0)

    -- I3: movements and disputes are those of exactly the payments that say so
    select p.id as subject, format('%s movements, %s disputes, %s of them open, %s', m.known, d.known, d.open,
        p.exceptions) as detail
    from payment_transactions p
    cross join lateral (
        select count(*) as known from payment_movements m where m.payment_id = p.id) as m
    cross join lateral (
        select count(*) as known, count(*) filter (where d.state = 'opened') as open
        from payment_disputes d where d.payment_id = p.id) as d
    where $these and ((m.known > 0) <> ('has_movements' = any(p.exceptions))
        or (d.known > 0) <> ('has_disputes' = any(p.exceptions))
        or (d.open > 0) <> ('disputed' = any(p.exceptions)))

    -- I3: every credit beyond the first is an accepted case of that amount
    select e.id as subject, format('%s of payment %s', e.transfer_key, e.payment_id) as detail
    from wallet_transactions e
    where e.$mine and e.direction = 1 and e.type = 'deposit' and e.transfer_key <> 'deposit'
      and not exists (select from dead_letters d where d.payment_id = e.payment_id and d.state = 'accepted'
          and d.tenant_id = e.tenant_id and 'case:' || d.id = e.transfer_key
          and d.amount_minor = e.amount_minor and d.currency = e.currency)

    -- I3: every accepted case is credited
    select d.id as subject, format('%s %s of payment %s', d.amount_minor, d.currency, p.id) as detail
    from payment_transactions p join dead_letters d on d.tenant_id = p.tenant_id and d.payment_id = p.id
    where $these and d.state = 'accepted' and d.amount_minor is not null and d.kind <> 'reconciliation'
      and not exists (select from wallet_transactions e where e.payment_id = p.id and e.type = 'deposit'
          and e.direction = 1 and e.transfer_key in ('deposit', 'case:' || d.id)
          and e.amount_minor = d.amount_minor and e.currency = d.currency)

    -- I3: every accepted difference is corrected, by no more than it holds, and every correction is an accepted one
    select coalesce(d.id::text, m.reversal_id) as subject, format('%s %s, corrected %s %s %s', d.amount_minor,
        d.currency, m.kind, m.amount_minor, m.currency) as detail
    from (select d.* from payment_transactions p join dead_letters d on d.tenant_id = p.tenant_id
              and d.payment_id = p.id
          where $these and d.kind = 'reconciliation' and d.state = 'accepted') as d
    full join (select m.*, split_part(m.reversal_id, ':', 2) as case_id from payment_movements m
               where m.$mine and m.reversal_id ~ '^(movement_)?correction:') as m on m.case_id = d.id::text
    where d.id is null or m.case_id is null or m.state <> 'booked' or m.currency <> d.currency
       or m.amount_minor > abs(d.amount_minor) or (m.kind = 'reversed') <> (d.amount_minor < 0)

    -- I3: an open payment's hold is held, a completed one's applied, any other's released
    select p.id as subject, format('%s, hold %s of %s %s', p.status, coalesce(l.state, 'missing'), l.amount_minor,
        l.currency) as detail
    from payment_transactions p left join wallet_temp_logs l on l.payment_id = p.id and l.kind = 'deposit'
    where $these and (l.payment_id is null
        or (l.user_id, l.currency, l.amount_minor) is distinct from (p.user_id, p.currency, p.amount_minor)
        or (l.state = 'held') <> (l.closed_at is null)
        or l.state <> case when p.status in ('pending', 'processing') then 'held'
                           when p.status = 'completed' then 'applied' else 'released' end)

    -- I3: a refund is held, moved or released, and what a completed one moved came again where it failed later
    select f.id as subject, format('%s, hold %s of %s %s, entries %s', f.status, coalesce(l.state, 'missing'),
        l.amount_minor, l.currency, c.keys) as detail
    from refunds f
    join payment_transactions p on p.id = f.payment_id
    left join wallet_temp_logs l on l.payment_id = f.payment_id and l.refund_id = f.id
    cross join lateral (
        select coalesce(array_agg(e.transfer_key order by e.transfer_key), '{}') as keys,
               bool_and((e.amount_minor, e.currency) = (f.amount_minor, f.currency)) as fits
        from $user_legs where e.payment_id = f.payment_id
          and e.transfer_key in ('refund:' || f.id, 'refund_failed:' || f.id)) as c
    where f.$mine and f.suspended_minor is null and (
        (l.tenant_id, l.user_id, l.currency, l.amount_minor) is distinct from
            (f.tenant_id, p.user_id, f.currency, f.amount_minor)
        or (l.state = 'held') <> (l.closed_at is null) or c.fits is false
        or (f.status = 'completed' and f.completed_at is null)
        or l.state is distinct from case when f.status in ('pending', 'processing') then 'held'
                                         when f.completed_at is null then 'released' else 'applied' end
        or c.keys <> case when f.completed_at is null then '{}'
                          when f.status = 'failed' then array['refund:' || f.id, 'refund_failed:' || f.id]
                          else array['refund:' || f.id] end)

    -- I3: a refund by a policy has no hold, and entries in suspense for what it put there and what it took
    select f.id as subject, format('%s, %s of %s put into suspense, entries %s', f.status, f.suspended_minor,
        f.amount_minor, c.keys) as detail
    from refunds f
    cross join lateral (
        select coalesce(array_agg(e.transfer_key order by e.transfer_key), '{}') as keys,
               bool_and((e.amount_minor, e.currency) = (f.amount_minor, f.currency)) as fits
        from wallet_transactions e join wallets w on w.id = e.wallet_id and w.kind = 'suspense'
        where e.payment_id = f.payment_id
          and e.transfer_key in ('suspense:' || f.id, 'refund:' || f.id, 'refund_failed:' || f.id)) as c
    where f.$mine and f.suspended_minor is not null and (
        c.fits is false or (f.status = 'completed' and f.completed_at is null)
        or exists (select from wallet_temp_logs l where l.payment_id = f.payment_id and l.refund_id = f.id)
        or c.keys <> case when f.completed_at is null then '{}'
                          when f.status = 'failed' then array['refund:' || f.id, 'refund_failed:' || f.id]
                          else array['refund:' || f.id] end
            || case when f.suspended_minor > 0 then array['suspense:' || f.id] else '{}' end)

    -- I3: a payment's entries in suspense add up to what it has there
    select coalesce(b.payment_id, k.payment_id) as subject, format('entries of %s %s, known %s %s', b.minor,
        b.currency, k.minor, k.currency) as detail
    from (
        select e.payment_id, e.currency, sum(e.direction * e.amount_minor) as minor
        from wallet_transactions e join wallets w on w.id = e.wallet_id and w.kind = 'suspense'
        where e.$mine group by 1, 2
    ) as b
    full join (
        select payment_id, currency, sum(minor) as minor from (
            select payment_id, currency, suspended_minor - coalesce(credited_minor, 0)
                - case when status = 'completed' then amount_minor else 0 end as minor
            from refunds where $mine and suspended_minor is not null
            union all
            select payment_id, currency, case when kind = 'reversed' then -suspense_minor else suspense_minor end
            from payment_movements where $mine and suspense_minor > 0
        ) as parts group by 1, 2
    ) as k on k.payment_id = b.payment_id and k.currency = b.currency
    where coalesce(b.minor, 0) <> coalesce(k.minor, 0)

    -- I3: money in suspense that no refund is under way for waits for a person, or a person has decided
    select f.id as subject, format('%s %s', f.amount_minor, f.currency) as detail from refunds f
    where f.$mine and f.suspended_minor is not null and f.status = 'failed' and f.credited_minor is null
      and not exists (select from dead_letters d where d.tenant_id = f.tenant_id and d.payment_id = f.payment_id
          and d.reason = 'suspense' and d.state = 'open')
      and (select coalesce(sum(e.direction * e.amount_minor), 0) from wallet_transactions e
           join wallets w on w.id = e.wallet_id and w.kind = 'suspense'
           where e.payment_id = f.payment_id and e.currency = f.currency) > 0

    -- I3: each entry and each hold of a refund has its refund, and refunds are those of the payments that say so
    select found.id as subject, found.detail from payment_transactions p cross join lateral (
        select p.id::text as id, format('%s refunds, exceptions %s', count(f.id), p.exceptions) as detail
        from refunds f where f.payment_id = p.id
        having (count(f.id) > 0) <> ('has_refunds' = any(p.exceptions)) or bool_or(f.tenant_id <> p.tenant_id)
        union all
        select e.transfer_key, 'an entry without its refund' from $own_legs
        where e.payment_id = p.id and e.transfer_key ~ '^(refund|refund_failed|suspense):'
          and not exists (select from refunds f where f.payment_id = p.id
              and e.transfer_key in ('refund:' || f.id, 'refund_failed:' || f.id, 'suspense:' || f.id))
        union all
        select l.refund_id::text, 'a hold without its refund' from wallet_temp_logs l
        where l.payment_id = p.id and l.kind = 'refund'
          and not exists (select from refunds f where f.id = l.refund_id and f.payment_id = p.id)
    ) as found where $these

    -- I9: a refund that is under way has a next step that is due, or waits for a person
    select p.id as subject, 'a refund is under way' as detail from payment_transactions p
    where $these and exists (select from refunds f where f.payment_id = p.id and f.status in ('pending', 'processing')
        and not exists (select from dead_letters d
            where d.payment_id = p.id and d.case_key = 'refund:' || f.id and d.state = 'open'))
      and not exists (select from payment_work w where w.payment_id = p.id)

    -- I8: an idempotency key has one payment
    select p.id as subject, format('key %s has %s as well', p.idempotency_key, o.id) as detail
    from payment_transactions p join payment_transactions o
      on o.tenant_id = p.tenant_id and o.idempotency_scope = p.idempotency_scope
     and o.idempotency_key = p.idempotency_key and o.id <> p.id
    where $these

    -- I9: an open payment has a next step that is due
    select p.id as subject, p.status as detail from payment_transactions p
    where $these and p.status in ('pending', 'processing')
      and not exists (select from payment_work w where w.payment_id = p.id)

    -- I13: what belongs to a payment is of its tenant
    select found.id::text as subject, format('%s of payment %s', found.kind, p.id) as detail
    from payment_transactions p cross join lateral (
        select 'entry' as kind, e.id, e.tenant_id from wallet_transactions e where e.payment_id = p.id
        union all
        select 'wallet', w.id, w.tenant_id from wallet_transactions e join wallets w on w.id = e.wallet_id
        where e.payment_id = p.id
        union all
        select 'hold', l.payment_id, l.tenant_id from wallet_temp_logs l where l.payment_id = p.id
        union all
        select 'work', w.payment_id, w.tenant_id from payment_work w where w.payment_id = p.id
        union all
        select 'dead letter', d.id, d.tenant_id from dead_letters d
        where d.payment_id = p.id and d.case_key is not null and d.kind <> 'reconciliation'
        union all
        select 'movement', m.payment_id, m.tenant_id from payment_movements m where m.payment_id = p.id
        union all
        select 'dispute', d.payment_id, d.tenant_id from payment_disputes d where d.payment_id = p.id
        union all
        select 'provider', a.id, a.tenant_id from payment_providers a where a.id = p.provider_id
    ) as found where $these and found.tenant_id <> p.tenant_id
""")
