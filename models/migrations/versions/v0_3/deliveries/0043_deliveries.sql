-- deliver: sends notifications to the endpoints of all tenants. It sees no ledger, no provider and no other secret.
do $$
begin
    if not exists (select from pg_roles where rolname = 'sluice_deliver') then
        create role sluice_deliver nologin;
    end if;
end $$;
grant usage on schema public to sluice_deliver;

create table webhook_endpoints (
    id uuid not null,
    tenant_id uuid not null,
    url text not null,
    event_types text[],
    description text,
    created_at timestamp with time zone default now() not null,
    disabled_at timestamp with time zone,
    disabled_reason text,
    deleted_at timestamp with time zone,
    constraint pk_webhook_endpoints primary key (id),
    constraint uq_webhook_endpoints_tenant_id_id unique (tenant_id, id),
    constraint fk_webhook_endpoints_tenant_id foreign key (tenant_id) references tenants (id),
    constraint ck_webhook_endpoints_disabled_reason check (
        (disabled_at is null) = (disabled_reason is null) and disabled_reason in ('requested', 'gone', 'failing'))
);
create index ix_webhook_endpoints_enabled on webhook_endpoints (tenant_id)
    where disabled_at is null and deleted_at is null;
comment on table webhook_endpoints is 'URLs of tenants to which their notifications are sent.';
comment on column webhook_endpoints.event_types is 'Types of notifications that it gets; null for all.';
comment on column webhook_endpoints.disabled_reason is
    'requested by the tenant, gone (it answered 410), or failing for days.';
comment on column webhook_endpoints.deleted_at is 'Callers do not see it from then on; its deliveries name it.';

create table endpoint_secrets (
    id uuid not null,
    tenant_id uuid not null,
    endpoint_id uuid not null,
    secret_encrypted bytea not null,
    created_at timestamp with time zone default now() not null,
    ends_at timestamp with time zone,
    constraint pk_endpoint_secrets primary key (id),
    constraint fk_endpoint_secrets_tenant_id foreign key (tenant_id, endpoint_id)
        references webhook_endpoints (tenant_id, id)
);
create index ix_endpoint_secrets_endpoint_id on endpoint_secrets (endpoint_id);
comment on table endpoint_secrets is 'Secrets that deliveries are signed with; several are valid during a rotation.';
comment on column endpoint_secrets.secret_encrypted is 'Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).';
comment on column endpoint_secrets.ends_at is 'When it stops being used; null for the current one.';

create table endpoint_deliveries (
    id uuid not null,
    tenant_id uuid not null,
    endpoint_id uuid not null,
    notification_id uuid,
    event_id bigint,
    event_type text not null,
    message bytea,
    status text default 'pending' not null,
    attempts integer default 0 not null,
    created_at timestamp with time zone default now() not null,
    ended_at timestamp with time zone,
    constraint pk_endpoint_deliveries primary key (id),
    constraint uq_endpoint_deliveries_tenant_id_id unique (tenant_id, id),
    constraint uq_endpoint_deliveries_tenant_id_endpoint_id_event_id unique (tenant_id, endpoint_id, event_id),
    constraint fk_endpoint_deliveries_tenant_id foreign key (tenant_id, endpoint_id)
        references webhook_endpoints (tenant_id, id),
    constraint ck_endpoint_deliveries_status check (status in ('pending', 'delivered', 'failed')),
    constraint ck_endpoint_deliveries_subject check (
        (notification_id is null) = (event_id is null) and (notification_id is not null or message is not null))
);
create index ix_endpoint_deliveries_newest on endpoint_deliveries (tenant_id, endpoint_id, id desc);
comment on table endpoint_deliveries is
    'Notifications that are sent to an endpoint, one row for each; written with the numbers of the notifications.';
comment on column endpoint_deliveries.notification_id is 'Null for a test of the endpoint.';
comment on column endpoint_deliveries.event_id is 'The notification''s number.';
comment on column endpoint_deliveries.message is
    'Exact bytes of the body, kept before the first attempt; every attempt and redelivery sends them.';
comment on column endpoint_deliveries.attempts is 'Attempts that came to an end.';
comment on column endpoint_deliveries.ended_at is 'When it was delivered or given up.';

create table delivery_work (
    delivery_id uuid not null,
    tenant_id uuid not null,
    endpoint_id uuid not null,
    due_at timestamp with time zone default now() not null,
    attempts integer default 0 not null,
    claim_id uuid,
    postponed integer default 0 not null,
    constraint pk_delivery_work primary key (delivery_id),
    constraint fk_delivery_work_tenant_id foreign key (tenant_id, delivery_id)
        references endpoint_deliveries (tenant_id, id)
);
create index ix_delivery_work_due on delivery_work (endpoint_id, due_at);
create index ix_delivery_work_due_at on delivery_work (due_at);
create index ix_delivery_work_claimed on delivery_work (endpoint_id) where claim_id is not null;
alter table delivery_work set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
comment on table delivery_work is 'The next attempt that is due for a delivery.';
comment on column delivery_work.due_at is
    'When it is due: schedule, retry timer and order of the queue in one, and a provider call''s lease.';
comment on column delivery_work.attempts is 'Claims since the last success.';
comment on column delivery_work.claim_id is 'The claim that holds the row; a write after a lease must name it.';
comment on column delivery_work.postponed is
    'How often trouble of the database postponed it, which is no attempt.';

create table delivery_attempts (
    delivery_id uuid not null,
    number integer not null,
    tenant_id uuid not null,
    at timestamp with time zone default now() not null,
    status_code smallint,
    milliseconds integer not null,
    error text,
    answer bytea,
    constraint pk_delivery_attempts primary key (delivery_id, number),
    constraint fk_delivery_attempts_tenant_id foreign key (tenant_id, delivery_id)
        references endpoint_deliveries (tenant_id, id)
);
comment on table delivery_attempts is 'Attempts of deliveries, as they ended.';
comment on column delivery_attempts.number is '1, 2, 3, ... of the delivery, across redeliveries.';
comment on column delivery_attempts.status_code is 'Of the answer; null where none came.';
comment on column delivery_attempts.error is 'Why it was not delivered.';
comment on column delivery_attempts.answer is 'The first KiB of the answer''s body.';

create table endpoint_breakers (
    endpoint_id uuid not null,
    tenant_id uuid not null,
    failures integer default 0 not null,
    opens integer default 0 not null,
    failing_since timestamp with time zone default now() not null,
    paused_until timestamp with time zone,
    probe_until timestamp with time zone,
    error text not null,
    changed_at timestamp with time zone default now() not null,
    constraint pk_endpoint_breakers primary key (endpoint_id),
    constraint fk_endpoint_breakers_tenant_id foreign key (tenant_id, endpoint_id)
        references webhook_endpoints (tenant_id, id)
);
comment on table endpoint_breakers is
    'Circuit breakers of failing endpoints: from the first failed attempt until one is answered with 2xx.';
comment on column endpoint_breakers.failures is 'Failed attempts in a row.';
comment on column endpoint_breakers.opens is 'Pauses in a row that they led to.';
comment on column endpoint_breakers.failing_since is 'First of the failures in a row; after days the endpoint is disabled.';
comment on column endpoint_breakers.paused_until is
    'No attempt is made before it; after it, while opens is above zero, a single one.';
comment on column endpoint_breakers.probe_until is 'Until when that single attempt is claimed.';

do $$
declare table_name text;
begin
    foreach table_name in array array['webhook_endpoints', 'endpoint_secrets', 'endpoint_deliveries', 'delivery_work',
                                      'delivery_attempts', 'endpoint_breakers'] loop
        execute format('alter table %I enable row level security', table_name);
        execute format('alter table %I force row level security', table_name);
        execute format('create policy owner_sees_all on %I to current_user using (true) with check (true)', table_name);
        execute format('create policy web_sees_its_tenant on %I to sluice_web'
            ' using (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)'
            ' with check (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)', table_name);
        execute format('create policy clerk_sees_its_tenant on %I to sluice_clerk'
            ' using (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)'
            ' with check (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)', table_name);
        execute format('create policy worker_settles_for_all on %I to sluice_worker using (true) with check (true)',
            table_name);
        execute format('create policy deliver_sends_for_all on %I to sluice_deliver using (true) with check (true)',
            table_name);
        execute format('create policy operator_sees_all on %I to sluice_operator using (true) with check (true)',
            table_name);
    end loop;
end $$;

-- Numbering writes deliveries; the sweep finds due work.
grant select on webhook_endpoints, delivery_work to sluice_worker;
grant select (id, tenant_id, endpoint_id) on endpoint_deliveries to sluice_worker;
grant insert (id, tenant_id, endpoint_id, notification_id, event_id, event_type) on endpoint_deliveries
    to sluice_worker;
grant insert (delivery_id, tenant_id, endpoint_id) on delivery_work to sluice_worker;

grant select on webhook_endpoints, endpoint_deliveries, delivery_work, delivery_attempts, endpoint_breakers
    to sluice_web, sluice_clerk, sluice_operator, sluice_deliver;

-- What the tenant changes through the API and an operator on the command line.
grant insert (id, tenant_id, url, event_types, description) on webhook_endpoints to sluice_clerk;
grant update (url, event_types, description, disabled_at, disabled_reason, deleted_at) on webhook_endpoints
    to sluice_clerk;
grant select (id, tenant_id, endpoint_id, created_at, ends_at), update (ends_at), delete,
    insert (id, tenant_id, endpoint_id, secret_encrypted) on endpoint_secrets to sluice_clerk;
grant insert (id, tenant_id, endpoint_id, notification_id, event_id, event_type, message) on endpoint_deliveries
    to sluice_clerk;
grant update (status, ended_at) on endpoint_deliveries to sluice_clerk;
grant insert (delivery_id, tenant_id, endpoint_id), update (due_at, attempts, claim_id) on delivery_work
    to sluice_clerk;
grant delete on endpoint_breakers to sluice_clerk;
-- Events that an endpoint never got are found by their numbers.
grant select on notification_numbers, notification_counters to sluice_clerk;
-- For the command that encrypts all secrets with another key.
grant select, update (secret_encrypted) on endpoint_secrets to sluice_operator;

-- What a worker that delivers reads and writes.
grant select on endpoint_secrets to sluice_deliver;
grant update (message, status, attempts, ended_at) on endpoint_deliveries to sluice_deliver;
grant update (due_at, attempts, claim_id, postponed), delete on delivery_work to sluice_deliver;
grant insert on delivery_attempts to sluice_deliver;
grant insert, update (failures, opens, paused_until, probe_until, error, changed_at), delete on endpoint_breakers
    to sluice_deliver;
grant update (disabled_at, disabled_reason) on webhook_endpoints to sluice_deliver;
create policy deliver_sends_for_all on notifications for select to sluice_deliver using (true);
grant select on notifications to sluice_deliver;
create policy deliver_raises_alarms on alerts to sluice_deliver using (true)
    with check (kind in ('endpoint_disabled', 'endpoint_unusable', 'database_trouble'));
grant select, insert on alerts to sluice_deliver;
create policy deliver_audits_what_it_does on audit_logs for insert to sluice_deliver
    with check (actor = 'system' and kind = 'endpoint_disabled');
grant insert (tenant_id, actor, kind, payment_id, payment_version, detail) on audit_logs to sluice_deliver;
grant execute on function report_keys to sluice_deliver;

-- An id of the same form as those that the application makes: it begins with the millisecond (RFC 9562, version 7),
-- which the last bits of a counter follow, so that rows of one moment are in its order.
create function new_ordered_id(counter bigint) returns uuid language sql volatile parallel safe as $$
    select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || lpad(to_hex(counter & 4095), 3, '0') || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
$$;
grant execute on function new_ordered_id to sluice_worker, sluice_clerk;

-- Deliveries that wait for their endpoint (it is paused, or has as many attempts under way as it may have at once) are
-- due, and more workers would not send them earlier: their age is not counted.
create function watch_deliveries() returns table (due bigint, oldest_seconds double precision)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    with recursive hop as (
        (select endpoint_id from public.delivery_work order by endpoint_id limit 1)
        union all
        select (select w.endpoint_id from public.delivery_work w where w.endpoint_id > hop.endpoint_id
                order by w.endpoint_id limit 1)
        from hop where hop.endpoint_id is not null
    ), open as (
        select hop.endpoint_id from hop left join public.endpoint_breakers b on b.endpoint_id = hop.endpoint_id
        where coalesce(b.opens, 0) = 0 and (b.paused_until is null or b.paused_until <= now())
          and (select count(*) from public.delivery_work c where c.endpoint_id = hop.endpoint_id
               and c.claim_id is not null and c.due_at > now()) < 16
    )
    select (select count(*) from (select from public.delivery_work where due_at <= now() limit 100000) as d),
           (select extract(epoch from now() - min(first.due_at)) from open cross join lateral (
                select due_at from public.delivery_work w where w.endpoint_id = open.endpoint_id and w.due_at <= now()
                order by due_at limit 1) as first)
$$;
grant execute on function watch_deliveries to sluice_door, sluice_worker, sluice_operator;
