-- sockets: finds credentials and reads notifications of the tenant in app.tenant; writes nothing.
-- auditor: reads the books of all tenants and keeps the results of proofs; sees no credential and no secret.
do $$
declare role_name text;
begin
    foreach role_name in array array['sluice_sockets', 'sluice_auditor'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
        execute format('grant usage on schema public to %I', role_name);
    end loop;
end $$;

-- The numbers of all tenants' outboxes are read in one statement; they say how much happened and nothing of what.
create policy sockets_sees_numbers on notification_counters for select to sluice_sockets using (true);
create policy sockets_sees_its_tenant on notification_numbers for select to sluice_sockets
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy sockets_sees_its_tenant on notifications for select to sluice_sockets
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
grant select on notification_counters, notification_numbers, notifications to sluice_sockets;
grant execute on function door_find_key, door_find_token, door_take_ticket, door_dead_tokens, door_origin_is_known
    to sluice_sockets;

do $$
declare
    -- What proofs compare. Of providers: which tenant they are of.
    books text[] := array['tenants', 'payment_transactions', 'payment_work', 'payment_webhooks', 'webhook_keys',
        'webhook_work', 'wallets', 'wallet_transactions', 'wallet_temp_logs', 'notifications', 'notification_work',
        'notification_numbers', 'notification_counters', 'audit_logs', 'audit_work', 'audit_seals', 'dead_letters',
        'alerts', 'dropped_partitions', 'verification_runs', 'verification_places'];
    table_name text;
begin
    foreach table_name in array books || 'payment_providers'::text loop
        execute format('create policy auditor_sees_all on %I to sluice_auditor using (true) with check (true)',
                       table_name);
    end loop;
    foreach table_name in array books loop
        execute format('grant select on %I to sluice_auditor', table_name);
    end loop;
end $$;
grant select (id, tenant_id, name, adapter, disabled_at) on payment_providers to sluice_auditor;
grant insert on verification_runs, verification_places, alerts to sluice_auditor;
grant update (seal_number, seal_sha256, notification_number, webhooks_until, verified_at)
    on verification_places to sluice_auditor;
grant delete on verification_runs to sluice_auditor;
grant execute on function first_id to sluice_auditor;
revoke insert, update, delete on verification_runs, verification_places from sluice_operator;

-- Updates by column: what no statement of a role writes, the role may not write. Rows keep their ids, tenants, amounts
-- and times of creation. A queue's row and an operator's configuration are changed as a whole but for these.
revoke update on all tables in schema public
    from sluice_web, sluice_door, sluice_worker, sluice_clerk, sluice_operator;

do $$
declare
    grantee text;
    wanted record;
begin
    for wanted in select * from (values
        ('payment_work', array['payment_id', 'tenant_id', 'provider_id'],
            array['sluice_web', 'sluice_worker', 'sluice_clerk']),
        ('webhook_work', array['webhook_id', 'tenant_id', 'payment_id'], array['sluice_worker', 'sluice_clerk']),
        ('tenants', array['id', 'created_at'], array['sluice_operator']),
        ('payment_providers', array['id', 'tenant_id', 'adapter', 'created_at'], array['sluice_operator'])
    ) as w(table_name, fixed, grantees) loop
        foreach grantee in array wanted.grantees loop
            execute (
                select format('grant update (%s) on %I to %I', string_agg(quote_ident(a.attname), ', '),
                              wanted.table_name, grantee)
                from pg_attribute a
                where a.attrelid = wanted.table_name::regclass and a.attnum > 0 and not a.attisdropped
                  and a.attname <> all (wanted.fixed));
        end loop;
    end loop;
end $$;

grant update (version, status, exceptions, provider_reference, redirect_url, failure_reason, completed_at, updated_at,
    received_minor, received_currency, reversed_minor, session_closed)
    on payment_transactions to sluice_web, sluice_worker, sluice_clerk;
grant update (provider_request, provider_request_at) on payment_transactions to sluice_worker;
grant update (state, closed_at) on wallet_temp_logs to sluice_web, sluice_worker, sluice_clerk;
grant update (balance_minor, version, updated_at) on wallets to sluice_worker, sluice_clerk;
grant update (status, verdict, reason, settled_at) on payment_webhooks to sluice_worker, sluice_clerk;
grant update (state, closed_at, closed_by) on dead_letters to sluice_web;
grant update (state, closed_at, closed_by, detail, attempts, amount_minor) on dead_letters
    to sluice_worker, sluice_clerk;
grant update (history) on dead_letters to sluice_clerk;
grant update (last_number) on notification_counters to sluice_worker;
grant update (attempts, due_at) on alerts to sluice_worker;
grant update (at) on heartbeats to sluice_worker;
grant update (failures, opens, paused_until, probe_until, error, changed_at) on provider_breakers to sluice_worker;
grant update (revoked_at) on api_keys to sluice_operator;
grant update (secret_encrypted, ends_at) on provider_secrets to sluice_operator;

-- Rows that these roles never insert, and hashes of credentials that the worker needs only for their deletion.
revoke insert on webhook_work, payment_work, client_tokens from sluice_operator;
revoke insert on dead_letters, alerts from sluice_web;
revoke select on client_tokens, socket_tickets from sluice_worker;
grant select (id, expires_at) on client_tokens to sluice_worker;
grant select (ticket_sha256, expires_at) on socket_tickets to sluice_worker;

-- web takes deposits and cancels them: it completes no payment, applies no hold, accepts no case.
create policy web_starts_payments on payment_transactions as restrictive for insert to sluice_web
    with check (status = 'pending' and version = 1);
create policy web_completes_nothing on payment_transactions as restrictive for update to sluice_web
    using (true) with check (status in ('pending', 'processing', 'cancelled'));
create policy web_starts_holds on wallet_temp_logs as restrictive for insert to sluice_web with check (state = 'held');
create policy web_applies_nothing on wallet_temp_logs as restrictive for update to sluice_web
    using (true) with check (state in ('held', 'released'));
create policy web_accepts_nothing on dead_letters as restrictive for update to sluice_web
    using (true) with check (state in ('open', 'superseded'));

-- What web may enter into the audit: deposits, and cancellations that move nothing; in the name of a key or a user, at
-- the time of the transaction.
revoke insert on audit_logs from sluice_web;
grant insert (tenant_id, actor, kind, payment_id, payment_version, detail) on audit_logs to sluice_web;
create policy web_audits_what_it_does on audit_logs as restrictive for insert to sluice_web
    with check (payment_id is not null and (actor like 'key:%' or actor like 'user:%')
                and (kind = 'payment_created'
                     or (kind = 'decision' and detail ->> 'given' = 'cancel' and not detail ? 'transfer')));
