-- What operators need: cases of reconciliation, the history of a dead letter, the circuit breaker of a provider, and
-- a role that carries out an operator's decision for one tenant.

alter table dead_letters drop constraint ck_dead_letters_kind;
alter table dead_letters add constraint ck_dead_letters_kind
    check (kind in ('webhook', 'provider_call', 'reconciliation'));
alter table dead_letters add column history jsonb default '[]' not null;
create index ix_dead_letters_newest on dead_letters (tenant_id, created_at desc, id desc);
create index ix_dead_letters_webhook on dead_letters (webhook_id) where webhook_id is not null;
-- A payment that only the provider knows has no payment of ours to be unique with.
create unique index uq_dead_letters_difference on dead_letters (provider_id, case_key) where kind = 'reconciliation';

create table provider_breakers (
    provider_id uuid not null,
    tenant_id uuid not null,
    failures integer default 0 not null,
    opens integer default 0 not null,
    paused_until timestamp with time zone,
    probe_until timestamp with time zone,
    error text not null,
    changed_at timestamp with time zone default now() not null,
    constraint pk_provider_breakers primary key (provider_id),
    constraint fk_provider_breakers_tenant_id_provider_id foreign key (tenant_id, provider_id)
        references payment_providers (tenant_id, id)
);

alter table provider_breakers enable row level security;
alter table provider_breakers force row level security;
create policy owner_sees_all on provider_breakers to current_user using (true) with check (true);
create policy web_sees_its_tenant on provider_breakers to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on provider_breakers to sluice_worker using (true) with check (true);
create policy operator_sees_all on provider_breakers to sluice_operator using (true) with check (true);
grant select, insert, update, delete on provider_breakers to sluice_worker;
grant select on provider_breakers to sluice_operator;

-- clerk: an operator's redrive, accept and reject, and the facts of a reconciliation. It may write the books, which
-- web may not, and sees one tenant at a time, the transaction's app.tenant, which worker and operator do not.
do $$
declare table_name text; tenant_column text;
begin
    if not exists (select from pg_roles where rolname = 'sluice_clerk') then
        create role sluice_clerk nologin;
    end if;
    grant usage on schema public to sluice_clerk;
    for table_name, tenant_column in
        select c.table_name, c.column_name from information_schema.columns c
        join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = 'public' and t.table_type = 'BASE TABLE'
          and (c.column_name = 'tenant_id' or (c.table_name = 'tenants' and c.column_name = 'id'))
    loop
        execute format('create policy clerk_sees_its_tenant on %I to sluice_clerk'
            ' using (%2$I = nullif(current_setting(''app.tenant'', true), '''')::uuid)'
            ' with check (%2$I = nullif(current_setting(''app.tenant'', true), '''')::uuid)',
            table_name, tenant_column);
    end loop;
end $$;

grant select (id, tenant_id, name, adapter) on payment_providers to sluice_clerk;
grant select on tenants, payment_transactions, payment_work, payment_webhooks, webhook_work, wallets,
    wallet_transactions, wallet_temp_logs, notifications, audit_logs, dead_letters, provider_breakers to sluice_clerk;
grant insert on payment_work, webhook_work, wallets, wallet_transactions, notifications, notification_work, audit_logs,
    dead_letters, alerts to sluice_clerk;
grant update on payment_transactions, payment_work, payment_webhooks, webhook_work, wallets, wallet_temp_logs,
    dead_letters to sluice_clerk;
grant delete on payment_work to sluice_clerk;

-- As before, with the providers that are paused because they fail.
create or replace function watch_counts() returns table (name text, label text, total numeric)
    language sql stable security definer set search_path = pg_catalog, public as $$
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
    select 'heartbeat_age_seconds', name, extract(epoch from now() - at) from public.heartbeats
    union all
    select 'provider_breakers_open', provider_id::text, 1 from public.provider_breakers where opens > 0
$$;
