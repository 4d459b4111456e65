"""The statements that number notifications and write their deliveries to webhook endpoints."""

from __future__ import annotations

from sqlalchemy import column

from models import prepared, single, tables
from models.array_params import rows_of
from models.sql import sql

# Notifications that a transaction brings; their numbers are given with them.
NEW_ROWS = rows_of(tables.notifications, "id", "tenant_id", "user_id", "payment_id", "type", "payload", "about")

# Two statements in one message, since each sees what was committed before it began: the queue is read after the locks
# were granted, hence after all numbers that earlier holders of the locks gave.
#
# 1. Lock the tenants (:tenant_ids) that no other session numbers at present; note them in a setting of the transaction.
_LOCK_TENANTS = """
    select set_config('lock_timeout', :lock_timeout, true), set_config('sluice.may_number', coalesce((
        select array_agg(tenant_id)::text from unnest(cast(:tenant_ids as uuid[])) as t(tenant_id)
        where pg_try_advisory_xact_lock(:space, hashtext(tenant_id::text))), '{}'), true)
"""
# 2. Number the new notifications (NEW_ROWS) after those that were queued, and write them with their numbers.
_NUMBER_TENANTS = sql(
    """
    with locked as (
        -- The tenants whose lock this transaction holds.
        select tenant_id from unnest(cast(current_setting('sluice.may_number', true) as uuid[])) as t(tenant_id)
    ), dequeued as (
        -- The oldest queued notifications of each locked tenant, up to the batch size.
        delete from notification_work where sequence in (
            select w.sequence from locked cross join lateral (
                select sequence from notification_work where tenant_id = locked.tenant_id
                order by sequence limit :batch) as w)
        returning sequence, notification_id, tenant_id, user_id
    ), drained as (
        -- Locked tenants whose whole queue is in `dequeued`: only their new notifications may be numbered now.
        select tenant_id from locked except
        select tenant_id from dequeued group by tenant_id having count(*) >= :batch
    ), new as (
        -- The new notifications in the order in which they were passed.
        select {columns}, row_number() over () as position,
               tenant_id in (select tenant_id from drained) as is_numbered
        from {rows}
    ), queued as (
        -- Those that are not numbered now wait behind what is queued.
        insert into notification_work (notification_id, tenant_id, user_id)
        select id, tenant_id, user_id from new where not is_numbered order by position
    ), due as (
        -- All that is numbered now; the order is (is_queued desc, position): first the queue, then what is new.
        select notification_id as id, tenant_id, user_id, null::uuid as payment_id, null as type,
               null::jsonb as payload, null::jsonb as about, sequence as position, true as is_queued
        from dequeued
        union all
        select {columns}, position, false from new where is_numbered
    ), counters as (
        -- Each tenant's counter goes up by its share of `due`; in the order of tenants, against deadlocks.
        insert into notification_counters as c (tenant_id, last_number)
        select tenant_id, count(*) from due group by tenant_id order by tenant_id
        on conflict (tenant_id) do update set last_number = c.last_number + excluded.last_number
        returning c.tenant_id, c.last_number
    ), sorted as (
        -- The last of `due` gets the counter's new value, the one before it one less, and so on.
        select due.*, last_number + 1 - row_number() over (
                   partition by tenant_id order by is_queued, position desc) as number
        from due join counters using (tenant_id)
    ), written as (
        -- A new notification is written with its number, where it gets one now.
        insert into notifications ({columns}, at, number)
        select {columns}, now(), number from sorted where not is_queued
        union all
        select {columns}, now(), null from new where not is_numbered
    ), numbered as (
        insert into notification_numbers (tenant_id, number, notification_id, user_id, is_queued)
        select tenant_id, number, id, user_id, is_queued from sorted
        returning tenant_id, number
    ), endpoints as materialized (
        -- Webhook endpoints of the locked tenants; few tenants have any.
        select tenant_id, id, event_types from webhook_endpoints
        where tenant_id in (select tenant_id from locked) and disabled_at is null and deleted_at is null
    ), delivered as (
        -- A delivery for each endpoint that wants the notification; that of a queued one has its type already.
        insert into endpoint_deliveries (id, tenant_id, endpoint_id, notification_id, event_id, event_type)
        select new_ordered_id(number), tenant_id, endpoint_id, id, number, type
        from (
            select e.tenant_id, e.id as endpoint_id, e.event_types, s.id, s.number,
                   coalesce(s.type, (
                       select type from notifications n where n.tenant_id = s.tenant_id and n.id = s.id)) as type
            from endpoints e join sorted s on s.tenant_id = e.tenant_id) as wanted
        where event_types is null or type = any(event_types)
        order by number
        returning id, tenant_id, endpoint_id
    ), due_deliveries as (
        insert into delivery_work (delivery_id, tenant_id, endpoint_id)
        select id, tenant_id, endpoint_id from delivered
    )
    -- One row per tenant that was numbered, and one without a number per tenant that another session numbers.
    select tenant_id, max(number) as last_number, count(*) as numbered,
           exists (select from delivered) as has_deliveries
    from numbered group by tenant_id
    union all
    select tenant_id, null, 0, false from unnest(cast(:tenant_ids as uuid[])) as t(tenant_id)
    where tenant_id not in (select tenant_id from locked)
    """,
    rows=NEW_ROWS.source,
    columns=[column(name) for name in NEW_ROWS.encoders],
)
NUMBER = prepared(_LOCK_TENANTS, _NUMBER_TENANTS)
NUMBER_SINGLE = single(_LOCK_TENANTS, _NUMBER_TENANTS)
