-- An alarm about what lasts has a subject and is open until that is over; while it is open it is not raised again.
-- Alarms of earlier releases have no subject: nothing says whether what raised them is still so.
alter table alerts
    add column subject text,
    add column occurrences integer default 1 not null,
    add column last_at timestamp with time zone default now() not null,
    add column resolved_at timestamp with time zone,
    add column resolved_by text,
    add constraint ck_alerts_resolved check ((resolved_at is null) = (resolved_by is null)),
    add constraint ck_alerts_subject check (resolved_at is null or subject is not null);
update alerts set last_at = at;
create unique index uq_alerts_open on alerts (tenant_id, kind, subject) nulls not distinct
    where resolved_at is null and subject is not null;
comment on table alerts is 'Alarms, one row from when one is raised until it is resolved; posted to ALERT_URL where that is set.';
comment on column alerts.subject is
    'What an alarm of its kind lasts for, such as a wallet or a dead letter; null where it reports an event.';
comment on column alerts.at is 'When it was raised.';
comment on column alerts.occurrences is 'How often it was raised while it was open.';
comment on column alerts.last_at is 'When it was last raised.';
comment on column alerts.resolved_at is 'When what raised it was over.';
comment on column alerts.resolved_by is 'What ended it, for people.';
comment on column alerts.due_at is
    'When it is posted next, and again once it is resolved; null once it is posted, or where ALERT_URL is not set.';

-- The application raises an open alarm again; workers and proofs find that it is over.
grant update (occurrences, last_at) on alerts to sluice_clerk, sluice_worker, sluice_auditor, sluice_deliver;
grant update (resolved_at, resolved_by) on alerts to sluice_worker, sluice_auditor;
grant update (due_at) on alerts to sluice_auditor;
grant select on alerts to sluice_clerk;

-- As before, with the alarms that are open.
create or replace function watch_counts() returns table (name text, label text, total numeric)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select 'payments', status, sum(n) from (
        select status, total as n from public.payment_counts
        union all select status, delta from public.payment_count_deltas) as c group by status
    union all
    select 'dead_letters_open', reason, count(*) from (
        select reason from public.dead_letters where state = 'open' limit 100000) as d group by reason
    union all
    select 'alerts_last_day', kind, count(*) from (
        select kind from public.alerts where at > now() - interval '1 day' order by at desc limit 100000) as a
    group by kind
    union all
    select 'alerts_open', kind, count(*) from (
        select kind from public.alerts where resolved_at is null and subject is not null limit 100000) as a
    group by kind
    union all
    select 'heartbeat_age_seconds', name, extract(epoch from now() - at) from public.heartbeats
    union all
    select 'provider_breakers_open', provider_id::text, 1 from public.provider_breakers where opens > 0
$$;
