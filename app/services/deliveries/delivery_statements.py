"""The statements that claim deliveries and write what became of their attempts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Text

from models import prepared, tables
from models.array_params import rows_of
from models.sql import sql

# Claims of the same moment do not see each other, and could exceed an endpoint's limit together: only the transaction
# that has an endpoint's advisory lock claims its deliveries. Two statements in one message, since each sees what was
# committed before it began: attempts under way are counted after the locks were granted.
#
# 1. Lock the endpoints that have due deliveries and that no other transaction claims for; note them in a setting. The
#    recursive part hops from endpoint to endpoint in the index.
_HOP = """
    with recursive hop as (
        (select endpoint_id from delivery_work order by endpoint_id limit 1)
        union all
        select (select w.endpoint_id from delivery_work w where w.endpoint_id > hop.endpoint_id
                order by w.endpoint_id limit 1)
        from hop where hop.endpoint_id is not null
    )
"""
_LOCK = """
    select set_config('lock_timeout', :lock_timeout, true), set_config('enable_bitmapscan', 'off', true),
        set_config('sluice.may_deliver', coalesce((
            select array_agg(endpoint_id)::text from (
                select endpoint_id from hop
                where exists (select from delivery_work w where w.endpoint_id = hop.endpoint_id and w.due_at <= now())
                offset 0) as d
            where pg_try_advisory_xact_lock(:space, hashtext(endpoint_id::text))), '{}'), true)
"""
# 2. Claim up to :room deliveries. :busy_tenants have :busy_calls under way in this process, which makes up to
#    :calls_max. The claims of :answered_ids, by :answered_claims, are not settled yet, but their attempts are over.
_CLAIM = """, open as materialized (
        -- The locked endpoints and how many attempts each may get now: a share that leaves as much for one endpoint
        -- more than have due deliveries. One that failed and whose pause is over gets a single attempt, the probe.
        -- Deliveries to one that is disabled or deleted are claimed as well, and end without an attempt.
        select e.id, e.url, e.disabled_at is not null or e.deleted_at is not null as is_gone,
               b.endpoint_id is not null as has_failures, coalesce(b.opens, 0) as opens,
               least(case when b.opens > 0 then 1 end,
                     least(:endpoint_calls_max, greatest(1, :calls_max / (1 + count(*) over ()))) - (
                   select count(*) from delivery_work c
                   where c.endpoint_id = e.id and c.claim_id is not null and c.due_at + interval '0' > now()
                     and (c.delivery_id, c.claim_id) not in (select * from unnest(
                         cast(:answered_ids as uuid[]), cast(:answered_claims as uuid[]))))) as room
        from unnest(cast(current_setting('sluice.may_deliver') as uuid[])) as locked(id)
        join webhook_endpoints e on e.id = locked.id
        left join endpoint_breakers b on b.tenant_id = e.tenant_id and b.endpoint_id = e.id
        where (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
    ), due as (
        -- The first due deliveries of each endpoint.
        select w.*, open.url, open.is_gone, open.has_failures, open.opens
        from open cross join lateral (
            select delivery_id, tenant_id, endpoint_id, due_at from delivery_work
            where endpoint_id = open.id and due_at <= now()
            order by due_at limit greatest(least(open.room, :room), 0) for update skip locked
        ) as w
    ), busy as (
        select tenant_id, calls from unnest(cast(:busy_tenants as uuid[]), cast(:busy_calls as int[]))
            as b(tenant_id, calls)
    ), numbered as (
        -- Each with its number among those of its endpoint, and among those of its tenant that are under way or due.
        select d.*, row_number() over (partition by d.endpoint_id order by d.due_at) as nth,
               coalesce(busy.calls, 0) + row_number() over (partition by d.tenant_id order by d.due_at) as number
        from due as d left join busy on busy.tenant_id = d.tenant_id
    ), chosen as (
        -- A tenant's share of the attempts leaves as much for one tenant more than have some now.
        select * from numbered
        where number <= greatest(1, :calls_max / (1 + (
            select count(*) from (select tenant_id from due union select tenant_id from busy) as t)))
        order by nth, due_at limit :room
    ), probed as (
        update endpoint_breakers b set probe_until = now() + make_interval(secs => :lease)
        from chosen
        where chosen.opens > 0 and b.endpoint_id = chosen.endpoint_id and b.opens > 0
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
        returning b.endpoint_id
    ), claimed as (
        update delivery_work w set attempts = w.attempts + 1, claim_id = :claim_id,
            due_at = now() + make_interval(secs => :lease)
        from chosen
        where w.delivery_id = chosen.delivery_id
          and (chosen.opens = 0 or chosen.endpoint_id in (select endpoint_id from probed))
        returning w.claim_id, w.delivery_id, w.tenant_id, w.endpoint_id, w.attempts, chosen.url, chosen.is_gone,
                  chosen.has_failures, chosen.opens
    )
    select calls.*,
        -- Due deliveries of open endpoints that were not claimed, and whether some were left to another transaction.
        exists (
            select from open join delivery_work w on w.endpoint_id = open.id and w.due_at <= now()
            where w.delivery_id not in (select delivery_id from claimed)) as is_more_due,
        exists (
            select from hop join delivery_work w on w.endpoint_id = hop.endpoint_id and w.due_at <= now()
            where hop.endpoint_id <> all(cast(current_setting('sluice.may_deliver') as uuid[]))) as is_contended
    from (values (1)) as one left join (
        select claimed.*, d.notification_id, d.event_id, d.event_type, d.message,
               n.payload::text as payload, n.about::text as about, n.at,
               -- Encrypted secrets are ASCII; the newest comes first.
               (select array_agg(convert_from(s.secret_encrypted, 'UTF8') order by s.created_at desc, s.id desc)
                from endpoint_secrets s
                where s.tenant_id = claimed.tenant_id and s.endpoint_id = claimed.endpoint_id
                  and (s.ends_at is null or s.ends_at > now())) as secrets
        from claimed
        join endpoint_deliveries d on d.tenant_id = claimed.tenant_id and d.id = claimed.delivery_id
        left join notifications n
            on d.message is null and n.tenant_id = d.tenant_id and n.id = d.notification_id
    ) as calls on true
"""
CLAIM_DELIVERIES = prepared(_HOP + _LOCK, _HOP + _CLAIM)

MESSAGES = rows_of(tables.endpoint_deliveries, "id", "message")
KEEP_MESSAGES = prepared(MESSAGES.update("id"))

# Ended attempts; `status` is the delivery's after it, `wait` the seconds until the next.
RESULTS = rows_of(
    tables.delivery_work,
    *("delivery_id", "tenant_id", "claim_id"),
    status=Text,
    wait=Double,
    status_code=BigInteger,
    milliseconds=BigInteger,
    error=Text,
    answer=tables.delivery_attempts.c.answer.type,
)
# The claim fences: a row that another worker claimed meanwhile is not ours, and nothing is written about it.
SETTLE_ATTEMPTS = prepared(
    sql(
        """
        with ended as (
            delete from delivery_work w using {rows}
            where w.delivery_id = r.delivery_id and w.claim_id = r.claim_id and r.status <> 'pending'
            returning w.delivery_id
        ), waiting as (
            -- One that nothing more is sent to has no retries: claimed at once, they end without an attempt.
            update delivery_work w set claim_id = null, due_at = now() + make_interval(secs => case when exists (
                select from webhook_endpoints e where e.tenant_id = w.tenant_id and e.id = w.endpoint_id
                and (e.deleted_at is not null or e.disabled_reason in ('gone', 'failing'))) then 0 else r.wait end)
            from {rows}
            where w.delivery_id = r.delivery_id and w.claim_id = r.claim_id and r.status = 'pending'
            returning w.delivery_id
        ), settled as (
            update endpoint_deliveries d set status = r.status, attempts = d.attempts + 1,
                ended_at = case when r.status <> 'pending' then now() end
            from {rows}
            where d.tenant_id = r.tenant_id and d.id = r.delivery_id
              and d.id in (select delivery_id from ended union all select delivery_id from waiting)
            returning d.id, d.tenant_id, d.attempts, r.status_code, r.milliseconds, r.error, r.answer
        ), written as (
            insert into delivery_attempts (delivery_id, number, tenant_id, status_code, milliseconds, error, answer)
            select id, attempts, tenant_id, status_code, milliseconds, error, answer from settled
        )
        select id from settled
        """,
        rows=RESULTS.source,
    )
)
