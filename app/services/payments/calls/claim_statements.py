"""The statements that claim a set of provider calls."""

from __future__ import annotations

from models import prepared

# A due call of each provider (p), of those that a payer waits for and of the others. By `order by` and `limit` each is
# the first one of a range of the index, also where the statistics have a join read the whole table.
_FIRST_DUE = """cross join (values (false), (true)) as kind(is_later) cross join lateral (
            select from payment_work
            where provider_id = p.id and (action in ('poll', 'close')) = kind.is_later and due_at <= now(){also}
            order by due_at limit 1) as w"""
HAS_DUE = f"select from payment_providers p {_FIRST_DUE.format(also='')}"
_FIRST_UNCLAIMED = _FIRST_DUE.format(also=" and payment_id not in (select payment_id from claimed)")

# Claims of the same moment do not see each other, and could exceed a provider's limit together: only the transaction
# that has a provider's advisory lock claims its calls. Two statements in one message, since each sees what was
# committed before it began: calls under way are counted after the locks were granted.
#
# 1. Lock the providers that have due calls and that no other transaction claims for; note them in a setting, and in
#    another one whether some were left to other transactions. Scans of bitmaps would read the dead entries that each
#    claim leaves again and again: only other scans mark them.
_LOCK_PROVIDERS = """
    select set_config('lock_timeout', :lock_timeout, true), set_config('enable_bitmapscan', 'off', true),
        set_config('sluice.may_claim', coalesce((array_agg(id) filter (where is_locked))::text, '{}'), true),
        set_config('sluice.is_contended', coalesce(bool_or(not is_locked), false)::text, true)
    from (
        select id, pg_try_advisory_xact_lock(:space, hashtext(id::text)) as is_locked from (
            select p.id from payment_providers p
            where exists (
                select from (values (false), (true)) as kind(is_later) join payment_work w
                on w.provider_id = p.id and (w.action in ('poll', 'close')) = kind.is_later and w.due_at <= now())
            offset 0) as d
        offset 0) as tried
"""
# 2. Claim up to :room calls. :busy_tenants have :busy_calls under way in this process, which makes up to :calls_max.
#    The claims of :answered_ids, by :answered_claims, are not settled yet, but their calls are over.
_CLAIM = f"""
    with open as materialized (
        -- The locked providers and how many calls each may get now. One that failed and whose pause is over gets a
        -- single call, the probe. Claims are counted in the index of claims: that of due times has every planned poll.
        select p.id, b.provider_id is not null as has_failures, coalesce(b.opens, 0) as opens,
               least(case when b.opens > 0 then 1 end, p.calls_max - (
                   select count(*) from payment_work c
                   where c.provider_id = p.id and c.claim_id is not null and c.due_at + interval '0' > now()
                     and (c.payment_id, c.claim_id) not in (select * from unnest(
                         cast(:answered_ids as uuid[]), cast(:answered_claims as uuid[]))))) as room
        from unnest(cast(current_setting('sluice.may_claim') as uuid[])) as locked(id)
        join payment_providers p on p.id = locked.id
        left join provider_breakers b on b.provider_id = p.id
        where (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
    ), due as (
        -- The first due calls of each provider, those that a payer waits for and others apart, as the index has them.
        select w.*, kind.is_later, open.has_failures, open.opens, open.room
        from open cross join (values (false), (true)) as kind(is_later) cross join lateral (
            select payment_id, tenant_id, provider_id, action, due_at,
                   case when claim_id is null then route_position end as route_position from payment_work
            where provider_id = open.id and (action in ('poll', 'close')) = kind.is_later and due_at <= now()
            order by due_at limit greatest(least(open.room, :room), 0) for update skip locked
        ) as w
), busy as (
        select tenant_id, calls from unnest(cast(:busy_tenants as uuid[]), cast(:busy_calls as int[]))
            as b(tenant_id, calls)
    ), numbered as (
        -- Each call with its number among the calls of its tenant, those under way included.
        select d.*, coalesce(busy.calls, 0) + row_number() over (
            partition by d.tenant_id order by d.is_later, d.due_at) as number
        from (select *, row_number() over (partition by provider_id order by is_later, due_at) as nth from due) as d
        left join busy on busy.tenant_id = d.tenant_id
        where d.nth <= d.room
    ), chosen as (
        -- A tenant's share of the calls leaves as much for one tenant more than have calls now.
        select * from numbered
        where number <= greatest(1, :calls_max / (1 + (
            select count(*) from (select tenant_id from due union select tenant_id from busy) as t)))
        order by is_later, number, due_at limit :room
    ), probed as (
        update provider_breakers b set probe_until = now() + make_interval(secs => :lease)
        from chosen
        where chosen.opens > 0 and b.provider_id = chosen.provider_id and b.opens > 0
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
        returning b.provider_id
    ), lockable as (
        -- Payments whose request is about to be kept, or whose capture or refund is about to be noted as sent: from
        -- then on nobody cancels them. One that is locked elsewhere must not hold up the others.
        select p.id from chosen join payment_transactions p on p.id = chosen.payment_id
        where not chosen.is_later and case chosen.action
            when 'create' then p.provider_request_at is null
            when 'refund' then true
            else p.capture_sent_at is null and p.status in ('pending', 'processing') end
        for no key update of p skip locked
    ), claimed as (
        update payment_work w set attempts = w.attempts + 1, claim_id = :claim_id,
            due_at = now() + make_interval(secs => :lease),
            route_position = null
        from chosen
        where w.payment_id = chosen.payment_id
          and (chosen.opens = 0 or chosen.provider_id in (select provider_id from probed))
        -- The fields of ClaimedCall, but for `refund_id`.
        returning w.claim_id, w.payment_id, w.tenant_id, w.provider_id, w.action, w.attempts, w.polls,
                  chosen.has_failures, chosen.opens, chosen.route_position
    )
    select calls.*,
        -- Whether calls are due that were not claimed, and those of some provider were left to another transaction.
        cast(current_setting('sluice.is_contended') as boolean) or exists (
            select from unnest(cast(current_setting('sluice.may_claim') as uuid[])) as p(id) {_FIRST_UNCLAIMED}
        ) as is_more_due,
        cast(current_setting('sluice.is_contended') as boolean) as is_contended
    from (values (1)) as one left join (
        select claimed.*, p.version, p.amount_minor, p.currency, p.status, p.provider_reference, p.provider_request,
               p.success_url, p.failure_url, p.metadata, p.created_at, p.expires_at,
               p.expires_at <= now() as is_expired,
               extract(epoch from now() - case claimed.action
                   when 'advance' then p.capture_sent_at else p.provider_request_at end) as request_age_seconds,
               p.approvals, claimed.action = 'advance' and p.id in (select id from lockable) as is_first_capture,
               p.id not in (select id from lockable) and case claimed.action
                   when 'create' then p.provider_request_at is null
                   when 'refund' then true
                   when 'advance' then p.capture_sent_at is null and p.status in ('pending', 'processing')
                   else false end as is_locked,
               d.details_encrypted, d.request_encrypted,
               f.id as refund_id, f.status as refund_status, f.reference as refund_of, f.amount_minor as refund_minor,
               f.currency as refund_currency, f.provider_reference as refund_reference, f.reason as refund_reason,
               f.provider_request as refund_request, extract(epoch from now() - f.sent_at) as refund_age_seconds,
               (select array_agg(o.reference order by o.created_at, o.reference) from provider_references o
                where f.id is not null and o.tenant_id = claimed.tenant_id and o.payment_id = claimed.payment_id
                  and o.provider_id = claimed.provider_id) as aliases,
               a.adapter, a.api_base_url, a.credentials_encrypted, a.attempts_max,
               (select jsonb_object_agg(t.id, convert_from(t.token_encrypted, 'UTF8')) from poke_tokens t
                where claimed.action = 'create' and t.provider_id = claimed.provider_id) as poke_tokens
        from claimed
        join payment_transactions p on p.tenant_id = claimed.tenant_id and p.id = claimed.payment_id
        join payment_providers a on a.tenant_id = claimed.tenant_id and a.id = claimed.provider_id
        left join payment_details d
            on claimed.action = 'create' and d.tenant_id = claimed.tenant_id and d.payment_id = claimed.payment_id
        -- What waits for a person comes last, what was not sent yet first, then what was not asked about for the
        -- longest time.
        left join lateral (
            select * from refunds r
            where claimed.action = 'refund' and r.tenant_id = claimed.tenant_id and r.payment_id = claimed.payment_id
              and r.status in ('pending', 'processing')
            order by exists (select from dead_letters d where d.tenant_id = r.tenant_id
                    and d.payment_id = r.payment_id and d.case_key = concat('refund:', r.id) and d.state = 'open'),
                r.called_at nulls first, r.created_at, r.id limit 1) as f on true
    ) as calls on true
"""  # noqa: S608  # constants
CLAIM_CALLS = prepared(_LOCK_PROVIDERS, _CLAIM)
