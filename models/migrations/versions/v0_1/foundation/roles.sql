-- The application's roles and what each may see. Logins are made members of them after the revisions.
-- web:      acts for one tenant at a time, the transaction's app.tenant
-- door:     reads nothing itself; calls the narrow functions of doors.sql
-- worker:   settles for all tenants; its second wall is the tenant in every key and join
-- operator: the command line; sees all tenants, changes configuration and dead letters

do $$
declare role_name text;
begin
    foreach role_name in array array['sluice_web', 'sluice_door', 'sluice_worker', 'sluice_operator'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
        execute format('grant usage on schema public to %I', role_name);
    end loop;
end $$;

revoke all on all functions in schema public from public;
alter default privileges in schema public revoke execute on functions from public;

-- Row-level security on every table with tenant rows, forced so that the owner passes by a policy as well.
do $$
declare table_name text; tenant_column text;
begin
    for table_name, tenant_column in
        select c.table_name, c.column_name from information_schema.columns c
        join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = 'public' and t.table_type = 'BASE TABLE'
          and (c.column_name = 'tenant_id' or (c.table_name = 'tenants' and c.column_name = 'id'))
    loop
        execute format('alter table %I enable row level security', table_name);
        execute format('alter table %I force row level security', table_name);
        execute format('create policy owner_sees_all on %I to current_user using (true) with check (true)', table_name);
        execute format('create policy web_sees_its_tenant on %I to sluice_web'
            ' using (%2$I = nullif(current_setting(''app.tenant'', true), '''')::uuid)'
            ' with check (%2$I = nullif(current_setting(''app.tenant'', true), '''')::uuid)',
            table_name, tenant_column);
        execute format('create policy worker_settles_for_all on %I to sluice_worker using (true) with check (true)',
            table_name);
        execute format('create policy operator_sees_all on %I to sluice_operator using (true) with check (true)',
            table_name);
    end loop;
end $$;

-- Two tables hold rows of no tenant (an unknown provider's refusal, an alarm about the system): web sees its own only,
-- which the policy above already says, since null equals nothing.

grant select on tenants, payment_transactions, payment_webhooks, wallets, wallet_transactions, wallet_temp_logs,
    notifications, notification_numbers, notification_counters, audit_logs, dead_letters, webhook_work,
    webhook_refusals, payment_work to sluice_web;
grant select (id, tenant_id, name, adapter, currencies, disabled_at) on payment_providers to sluice_web;
grant insert on payment_transactions, payment_work, wallet_temp_logs, client_tokens, socket_tickets, notifications,
    notification_work, audit_logs, dead_letters, alerts to sluice_web;
grant update on payment_transactions, payment_work, wallet_temp_logs, dead_letters to sluice_web;
grant delete on payment_work to sluice_web;

grant select on tenants, payment_providers, payment_transactions, payment_work, payment_webhooks, webhook_keys,
    webhook_work, wallets, wallet_transactions, wallet_temp_logs, notifications, notification_work,
    notification_numbers, notification_counters, audit_logs, dead_letters, alerts, heartbeats, client_tokens,
    socket_tickets to sluice_worker;
grant insert on payment_work, webhook_work, wallets, wallet_transactions, notifications, notification_work,
    notification_numbers, notification_counters, audit_logs, dead_letters, alerts, heartbeats to sluice_worker;
grant update on payment_transactions, payment_work, payment_webhooks, webhook_work, wallets, wallet_temp_logs,
    notification_counters, dead_letters, alerts, heartbeats to sluice_worker;
grant delete on payment_work, webhook_work, notification_work, client_tokens, socket_tickets to sluice_worker;

grant select on all tables in schema public to sluice_operator;
grant insert on tenants, api_keys, payment_providers, provider_secrets, audit_logs, alerts, webhook_work,
    payment_work, client_tokens to sluice_operator;
grant update on tenants, api_keys, payment_providers, provider_secrets, dead_letters, webhook_work, payment_work,
    payment_webhooks to sluice_operator;
