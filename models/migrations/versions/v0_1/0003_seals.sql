-- Seals: every audit row is taken up into its tenant's chain of seals, in ranges hashed over all columns.

create table audit_work (
    tenant_id uuid not null,
    audit_id bigint not null,
    audit_at timestamp with time zone not null,
    due_at timestamp with time zone default now() not null,
    constraint pk_audit_work primary key (tenant_id, audit_id)
);
alter table audit_work set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

create table audit_seals (
    tenant_id uuid not null,
    number bigint not null,
    first_position bigint not null,
    last_position bigint not null,
    audit_ids bigint[] not null,
    first_audit_id bigint not null,
    last_audit_id bigint not null,
    row_marks bytea not null,
    rows_sha256 bytea not null,
    previous_sha256 bytea not null,
    seal_sha256 bytea not null,
    sealed_at timestamp with time zone not null,
    constraint pk_audit_seals primary key (tenant_id, number),
    constraint ck_audit_seals_positions check (last_position - first_position + 1 = cardinality(audit_ids))
);
create index ix_audit_seals_rows on audit_seals (tenant_id, last_audit_id);

create trigger seals_are_append_only before update or delete on audit_seals
    for each row execute function refuse_change();
create trigger seals_are_not_truncated before truncate on audit_seals
    for each statement execute function refuse_change();

-- Queues every new audit row for the sealer, in the transaction that writes it. The row of work exists from that commit
-- until the commit of the seal, so that no audit row is skipped, in whatever order transactions commit.
create function queue_audit_rows() returns trigger language plpgsql security definer
    set search_path = pg_catalog, public as $$
begin
    insert into public.audit_work (tenant_id, audit_id, audit_at) select tenant_id, id, at from written;
    return null;
end $$;
create trigger audit_waits_for_its_seal after insert on audit_logs
    referencing new table as written for each statement execute function queue_audit_rows();

-- A notification is numbered once, and found by its id without a scan of the tenant's numbers.
create unique index uq_notification_numbers_notification on notification_numbers (notification_id);

create table verification_runs (
    id uuid not null,
    mode text not null,
    tenant_id uuid,
    started_at timestamp with time zone not null,
    finished_at timestamp with time zone default now() not null,
    is_complete boolean not null,
    counts jsonb not null,
    broken jsonb not null,
    constraint pk_verification_runs primary key (id),
    constraint ck_verification_runs_mode check (mode in ('full', 'incremental'))
);
create index ix_verification_runs_newest on verification_runs (finished_at desc);

create table verification_places (
    tenant_id uuid not null,
    seal_number bigint not null,
    seal_sha256 bytea not null,
    notification_number bigint not null,
    webhooks_until timestamp with time zone not null,
    verified_at timestamp with time zone not null,
    constraint pk_verification_places primary key (tenant_id)
);

do $$
declare table_name text;
begin
    foreach table_name in array array['audit_work', 'audit_seals', 'verification_runs', 'verification_places'] loop
        execute format('alter table %I enable row level security', table_name);
        execute format('alter table %I force row level security', table_name);
        execute format('create policy owner_sees_all on %I to current_user using (true) with check (true)', table_name);
        execute format('create policy web_sees_its_tenant on %I to sluice_web'
            ' using (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)'
            ' with check (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)', table_name);
        execute format('create policy worker_settles_for_all on %I to sluice_worker using (true) with check (true)',
            table_name);
        execute format('create policy operator_sees_all on %I to sluice_operator using (true) with check (true)',
            table_name);
    end loop;
end $$;

grant select on audit_work, audit_seals, verification_runs, verification_places to sluice_operator;
grant select, delete on audit_work to sluice_worker;
grant select, insert on audit_seals to sluice_worker;
grant insert on verification_runs, verification_places to sluice_operator;
grant delete on verification_runs to sluice_operator;
grant update on verification_places to sluice_operator;

-- Metrics of the books: how long audit rows wait for their seal, and what the last proofs have found.
create function watch_books() returns table (name text, label text, total numeric)
    language sql stable security definer set search_path = pg_catalog, public as $$
    select 'audit_unsealed_rows', 'all', count(*)::numeric from (select from public.audit_work limit 100000) as w
    union all
    select 'audit_unsealed_oldest_seconds', 'all',
           coalesce((select max(extract(epoch from now() - a.at)) from public.tenants t cross join lateral (
               select due_at as at from public.audit_work w where w.tenant_id = t.id order by w.audit_id limit 1) as a), 0)
    union all
    select 'books_broken', r.mode, jsonb_array_length(r.broken) from (
        select distinct on (mode) mode, broken from public.verification_runs
        where tenant_id is null and is_complete order by mode, finished_at desc) as r
    union all
    select 'books_verified_age_seconds', r.mode, extract(epoch from now() - r.finished_at) from (
        select distinct on (mode) mode, finished_at from public.verification_runs
        where tenant_id is null and is_complete order by mode, finished_at desc) as r
$$;
grant execute on function watch_books to sluice_door, sluice_operator;
