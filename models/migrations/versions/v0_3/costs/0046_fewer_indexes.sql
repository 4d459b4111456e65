-- Processes of the release before find all rows without these indexes, and sort or read more of them.

-- A wallet's entries are listed in the order of the key (wallet_id, wallet_version).
drop index ix_wallet_transactions_newest;

-- What asks for all due calls goes from provider to provider in ix_payment_work_due, as claims do.
drop index ix_payment_work_due_at;

-- Per kind of work: rows due now (counted up to a bound) and the age of the oldest.
create or replace function watch_work() returns table (queue text, due bigint, oldest_seconds double precision)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    with recursive hop as (
        (select tenant_id from public.webhook_work order by tenant_id limit 1)
        union all
        select (select w.tenant_id from public.webhook_work w where w.tenant_id > hop.tenant_id
                order by w.tenant_id limit 1)
        from hop where hop.tenant_id is not null
    ), webhooks as (
        select w.due_at, w.leased_until from hop cross join lateral (
            select due_at, leased_until from public.webhook_work
            where tenant_id = hop.tenant_id and due_at <= now() and (leased_until is null or leased_until <= now())
            order by due_at limit 100000) as w
        limit 100000
    ), calls as (
        select w.due_at
        from public.payment_providers p cross join (values (false), (true)) as kind(is_later) cross join lateral (
            select due_at from public.payment_work
            where provider_id = p.id and (action in ('poll', 'close')) = kind.is_later and due_at <= now()
            order by due_at limit 100000) as w
        limit 100000
    )
    select 'settle', count(*), extract(epoch from now() - min(greatest(due_at, leased_until))) from webhooks
    union all
    select 'provider', count(*), extract(epoch from now() - min(due_at)) from calls
    union all
    select 'notify', (select count(*) from (select from public.notification_work limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.notification_work order by sequence limit 1)
$$;
