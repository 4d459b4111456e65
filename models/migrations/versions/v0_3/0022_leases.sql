-- A claim of the version before has its lease in due_at, so its rows are due when that is over, as they would have been.
alter table webhook_work add column leased_until timestamp with time zone;
comment on column webhook_work.leased_until is
    'Until when the claim holds the row, which is not due meanwhile; in no index, so that a claim writes none.';
comment on column webhook_work.due_at is
    'When it is due: schedule, retry timer and order of the queue in one, and a provider call''s lease.';
comment on column payment_work.due_at is
    'When it is due: schedule, retry timer and order of the queue in one, and a provider call''s lease.';
-- A claim changes many rows of a page at once: their new versions, which are longer, fit into it.
alter table webhook_work set (fillfactor = 40);
grant update (leased_until) on webhook_work to sluice_worker, sluice_clerk;

-- Per kind of work: rows due now (counted up to a bound) and the age of the oldest.
create or replace function watch_work() returns table (queue text, due bigint, oldest_seconds double precision)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select 'settle', (select count(*) from (
               select from public.webhook_work
               where due_at <= now() and (leased_until is null or leased_until <= now()) limit 100000) as d),
           (select extract(epoch from now() - greatest(due_at, leased_until)) from public.webhook_work
            where due_at <= now() and (leased_until is null or leased_until <= now()) order by due_at limit 1)
    union all
    select 'provider', (select count(*) from (select from public.payment_work where due_at <= now() limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.payment_work where due_at <= now()
            order by due_at limit 1)
    union all
    select 'notify', (select count(*) from (select from public.notification_work limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.notification_work order by sequence limit 1)
$$;
