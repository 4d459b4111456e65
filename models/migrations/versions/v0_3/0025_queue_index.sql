-- Where many webhooks are due at the same moment, a claim of a tenant's next ones in the order of this index would sort
-- all of them. What asks for the whole queue goes from tenant to tenant in the other index, as claims do.
drop index ix_webhook_work_due;

-- Per kind of work: rows due now (counted up to a bound) and the age of the oldest.
create or replace function watch_work() returns table (queue text, due bigint, oldest_seconds double precision)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    with recursive hop as (
        (select tenant_id from public.webhook_work order by tenant_id limit 1)
        union all
        select (select w.tenant_id from public.webhook_work w where w.tenant_id > hop.tenant_id
                order by w.tenant_id limit 1)
        from hop where hop.tenant_id is not null
    ), due as (
        select w.due_at, w.leased_until from hop cross join lateral (
            select due_at, leased_until from public.webhook_work
            where tenant_id = hop.tenant_id and due_at <= now() and (leased_until is null or leased_until <= now())
            order by due_at limit 100000) as w
        limit 100000
    )
    select 'settle', count(*), extract(epoch from now() - min(greatest(due_at, leased_until))) from due
    union all
    select 'provider', (select count(*) from (select from public.payment_work where due_at <= now() limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.payment_work where due_at <= now()
            order by due_at limit 1)
    union all
    select 'notify', (select count(*) from (select from public.notification_work limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.notification_work order by sequence limit 1)
$$;
