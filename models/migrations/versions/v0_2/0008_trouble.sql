-- How often trouble of the database put a row of work off, which is no attempt.
alter table webhook_work add column postponed integer default 0 not null;
alter table webhook_work add column postponed_since timestamp with time zone;
alter table payment_work add column postponed integer default 0 not null;
grant update (postponed, postponed_since) on webhook_work to sluice_worker, sluice_clerk;
grant update (postponed) on payment_work to sluice_web, sluice_worker, sluice_clerk;

-- Providers that cannot be used as they are configured.
create table provider_troubles (
    provider_id uuid not null,
    tenant_id uuid not null,
    problem text not null,
    at timestamp with time zone default now() not null,
    constraint pk_provider_troubles primary key (provider_id),
    constraint fk_provider_troubles_tenant_id_provider_id foreign key (tenant_id, provider_id)
        references payment_providers (tenant_id, id)
);
alter table provider_troubles enable row level security;
alter table provider_troubles force row level security;
create policy owner_sees_all on provider_troubles to current_user using (true) with check (true);
create policy operator_sees_all on provider_troubles to sluice_operator using (true) with check (true);
grant select on provider_troubles to sluice_operator;

-- Which encryption keys the running processes hold, by their fingerprints.
create table process_keys (
    process text not null,
    fingerprint text not null,
    place integer not null,
    at timestamp with time zone default now() not null,
    constraint pk_process_keys primary key (process, fingerprint)
);
grant select on process_keys to sluice_operator;

-- Processes report through functions; they may touch neither table.
create function report_provider(wanted_provider uuid, what text) returns void
    language sql security definer set search_path = pg_catalog, public, pg_temp as $$
    insert into public.provider_troubles as t (provider_id, tenant_id, problem)
    select id, tenant_id, left(what, 200) from public.payment_providers where id = wanted_provider
    on conflict (provider_id) do update set problem = excluded.problem, at = now()
$$;

-- A process reports all of its keys at once; reports of processes that have ended are deleted after an hour. At most a
-- thousand rows are kept, so that a caller cannot fill the disk.
create function report_keys(reporter text, fingerprints text[]) returns void
    language sql security definer set search_path = pg_catalog, public, pg_temp as $$
    delete from public.process_keys
    where at < now() - interval '1 hour' or (process = left(reporter, 200) and fingerprint <> all (fingerprints));
    insert into public.process_keys as k (process, fingerprint, place)
    select left(reporter, 200), left(f.fingerprint, 64), f.place - 1
    from unnest(fingerprints[1:20]) with ordinality as f(fingerprint, place)
    where (select count(*) from public.process_keys) < 1000
    on conflict (process, fingerprint) do update set place = excluded.place, at = now()
$$;

-- Providers that some process could not use within the last five minutes.
create function watch_providers() returns table (provider_id uuid, tenant_id uuid, problem text)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select t.provider_id, t.tenant_id, t.problem from public.provider_troubles t
    where t.at > now() - interval '5 minutes' order by t.provider_id limit 1000
$$;

revoke all on function report_provider(uuid, text), report_keys(text, text[]), watch_providers() from public;
grant execute on function report_provider(uuid, text), report_keys(text, text[]), watch_providers()
    to sluice_door, sluice_worker;
grant execute on function watch_providers() to sluice_operator;
