-- Narrow functions that find callers before they are authenticated, and the metrics that monitoring may read.
-- All run as their owner with a fixed search path and return only what the caller needs.

create function door_find_key(wanted text)
    returns table (key_id uuid, tenant_id uuid, role text, secret_sha256 bytea,
                   allowed_origins text[], requests_per_second integer)
    language sql stable security definer set search_path = pg_catalog, public as $$
    select k.id, k.tenant_id, k.role, k.secret_sha256, t.allowed_origins, t.requests_per_second
    from public.api_keys k join public.tenants t on t.id = k.tenant_id
    where k.public_part = wanted and k.revoked_at is null
$$;

create function door_find_token(wanted text)
    returns table (token_id uuid, tenant_id uuid, user_id text, key_id uuid, secret_sha256 bytea, expires_at timestamptz,
                   allowed_origins text[], requests_per_second integer)
    language sql stable security definer set search_path = pg_catalog, public as $$
    select c.id, c.tenant_id, c.user_id, c.api_key_id, c.secret_sha256, c.expires_at,
           t.allowed_origins, t.requests_per_second
    from public.client_tokens c
    join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
    join public.tenants t on t.id = c.tenant_id
    where c.public_part = wanted and c.expires_at > now()
$$;

create function door_take_ticket(wanted bytea)
    returns table (token_id uuid, tenant_id uuid, user_id text, key_id uuid, expires_at timestamptz,
                   allowed_origins text[])
    language sql security definer set search_path = pg_catalog, public as $$
    with taken as (
        delete from public.socket_tickets s where s.ticket_sha256 = wanted
        returning s.tenant_id, s.client_token_id, s.expires_at
    )
    select c.id, c.tenant_id, c.user_id, c.api_key_id, c.expires_at, t.allowed_origins
    from taken
    join public.client_tokens c on c.tenant_id = taken.tenant_id and c.id = taken.client_token_id
    join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
    join public.tenants t on t.id = c.tenant_id
    where taken.expires_at > now() and c.expires_at > now()
$$;

-- Of the given tokens, those that are no longer good: expired, or their key revoked.
create function door_dead_tokens(wanted uuid[]) returns setof uuid
    language sql stable security definer set search_path = pg_catalog, public as $$
    select w.id from unnest(wanted) as w(id)
    where not exists (
        select from public.client_tokens c
        join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
        where c.id = w.id and c.expires_at > now())
$$;

create function door_origin_is_known(wanted text) returns boolean
    language sql stable security definer set search_path = pg_catalog, public as $$
    select exists (select from public.tenants t where wanted = any (t.allowed_origins))
$$;

create function door_find_provider(wanted uuid)
    returns table (tenant_id uuid, adapter text, webhook_scheme text, signature_header text, id_field text,
                   ip_allowlist text[], secrets bytea[])
    language sql stable security definer set search_path = pg_catalog, public as $$
    select p.tenant_id, p.adapter, p.webhook_scheme, p.signature_header, p.id_field, p.ip_allowlist,
           coalesce((select array_agg(s.secret_encrypted order by s.created_at desc) from public.provider_secrets s
                     where s.tenant_id = p.tenant_id and s.provider_id = p.id
                       and (s.ends_at is null or s.ends_at > now())), '{}')
    from public.payment_providers p
    where p.id = wanted
$$;

-- Stores verified deliveries, which have come in the order of the arrays. The first of an id becomes a webhook that is
-- due; a repeat with the same bytes is a duplicate; one with other bytes is kept as a marked row of its own and alarmed,
-- once per distinct body.
create function door_store_webhooks(
    ids uuid[], tenant_ids uuid[], provider_ids uuid[], external_ids text[], paths text[], bodies bytea[],
    headers jsonb[], sha256s bytea[], addresses text[], payment_ids uuid[])
    returns table (delivery_id uuid, webhook_id uuid, is_duplicate boolean, is_conflict boolean)
    language plpgsql security definer set search_path = pg_catalog, public as $$
#variable_conflict use_column
declare
    fresh_ids uuid[];
begin
    with incoming as (
        select * from unnest(ids, tenant_ids, provider_ids, external_ids, paths, bodies, headers, sha256s, addresses,
                             payment_ids) with ordinality
            as i(id, tenant_id, provider_id, external_id, path, body, header, sha256, address, payment_id, place)
    ), fresh as (
        -- In order of the key: two groups that share ids must lock them in the same order.
        insert into public.webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)
        select provider_id, external_id, tenant_id, sha256, id from incoming
        order by provider_id, external_id, place
        on conflict (provider_id, external_id) do nothing
        returning webhook_keys.webhook_id
    ), kept as (
        insert into public.payment_webhooks
            (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256, remote_address, payment_id)
        select i.id, i.tenant_id, i.provider_id, i.external_id, i.path, i.body, i.header,
               i.sha256, i.address, i.payment_id
        from incoming i join fresh f on f.webhook_id = i.id
    ), due as (
        insert into public.webhook_work (webhook_id, tenant_id, payment_id)
        select i.id, i.tenant_id, i.payment_id from incoming i join fresh f on f.webhook_id = i.id
    )
    select array_agg(webhook_id) into fresh_ids from fresh;

    if cardinality(fresh_ids) = cardinality(ids) then
        return query select id, id, false, false from unnest(ids) as i(id);
        return;
    end if;

    -- Lock before the next statement reads: it sees what others did to the same ids, and repeats are counted in turn.
    -- Only by their keys: with one more condition the plan would read all keys ever stored.
    perform from public.webhook_keys k
    where (k.provider_id, k.external_id) in (
        select i.provider_id, i.external_id from unnest(provider_ids, external_ids) as i(provider_id, external_id))
    order by k.provider_id, k.external_id for no key update;

    return query
    with judged as (
        -- What carries its own id was stored just now, or by a call whose caller never heard of it.
        select i.*, k.webhook_id as first_id, k.webhook_id <> i.id as repeats, k.body_sha256 <> i.sha256 as differs
        from unnest(ids, tenant_ids, provider_ids, external_ids, paths, bodies, headers, sha256s, addresses,
                    payment_ids) with ordinality
            as i(id, tenant_id, provider_id, external_id, path, body, header, sha256, address, payment_id, place)
        join public.webhook_keys k on k.provider_id = i.provider_id and k.external_id = i.external_id
    ), counted as (
        update public.webhook_keys k set duplicates = k.duplicates + c.copies
        from (select provider_id, external_id, count(*)::integer as copies from judged where repeats and not differs
              group by provider_id, external_id) as c
        where k.provider_id = c.provider_id and k.external_id = c.external_id
    ), marked as (
        insert into public.payment_webhooks
            (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256, remote_address, payment_id,
             conflicts_with, status, verdict, reason, settled_at)
        select distinct on (j.first_id, j.sha256)
               j.id, j.tenant_id, j.provider_id, j.external_id, j.path, j.body, j.header,
               j.sha256, j.address, j.payment_id, j.first_id, 'processed', 'conflict',
               'same id with other bytes', now()
        from judged j
        where j.repeats and j.differs and not exists (
            select from public.payment_webhooks w
            where w.conflicts_with = j.first_id and w.body_sha256 = j.sha256)
        order by j.first_id, j.sha256, j.place
        returning payment_webhooks.id, tenant_id, provider_id, external_id, conflicts_with
    ), alarmed as (
        insert into public.alerts (id, tenant_id, kind, severity, message, detail, due_at)
        select m.id, m.tenant_id, 'webhook_conflict', 'critical',
               'a webhook id was sent again with other bytes',
               jsonb_build_object('provider_id', m.provider_id, 'external_id', m.external_id,
                                  'first_webhook_id', m.conflicts_with, 'webhook_id', m.id), now()
        from marked m
    )
    select j.id, j.first_id, j.repeats and not j.differs, j.repeats and j.differs from judged j;
end $$;

-- A refusal is written into a ring of ten thousand slots: the newest ones stay, the disk does not fill.
create sequence refusal_slots as bigint maxvalue 10000 minvalue 1 cycle;

create function door_refuse_webhook(wanted_provider uuid, why text, address text, head bytea) returns void
    language sql security definer set search_path = pg_catalog, public as $$
    insert into public.webhook_refusals (slot, tenant_id, provider_id, reason, remote_address, body_head)
    select nextval('public.refusal_slots'), p.tenant_id, p.id, why, address, substr(head, 1, 4096)
    from (select 1) as one left join public.payment_providers p on p.id = wanted_provider
    on conflict (slot) do update set tenant_id = excluded.tenant_id, provider_id = excluded.provider_id,
        reason = excluded.reason, remote_address = excluded.remote_address, body_head = excluded.body_head, at = now()
$$;

-- Per kind of work: rows due now (counted up to a bound) and the age of the oldest.
create function watch_work() returns table (queue text, due bigint, oldest_seconds double precision)
    language sql stable security definer set search_path = pg_catalog, public as $$
    select 'settle', (select count(*) from (select from public.webhook_work where due_at <= now() limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.webhook_work where due_at <= now()
            order by due_at limit 1)
    union all
    select 'provider', (select count(*) from (select from public.payment_work where due_at <= now() limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.payment_work where due_at <= now()
            order by due_at limit 1)
    union all
    select 'notify', (select count(*) from (select from public.notification_work limit 100000) as d),
           (select extract(epoch from now() - due_at) from public.notification_work order by sequence limit 1)
$$;

-- What is counted in rows; nothing here grows with history. Dead letters and alarms are counted up to a bound.
create function watch_counts() returns table (name text, label text, total numeric)
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
$$;

-- Folds the counted deltas; one folder at a time, and nobody waits for it.
create function fold_payment_counts() returns void
    language plpgsql security definer set search_path = pg_catalog, public as $$
begin
    if pg_try_advisory_xact_lock(hashtext('fold_payment_counts')) then
        with gone as (delete from public.payment_count_deltas returning status, delta)
        insert into public.payment_counts as c (status, total)
        select status, sum(delta) from gone group by status order by status
        on conflict (status) do update set total = c.total + excluded.total;
    end if;
end $$;

grant execute on function door_find_key, door_find_token, door_take_ticket, door_dead_tokens, door_origin_is_known,
    door_find_provider, door_store_webhooks, door_refuse_webhook, watch_work, watch_counts to sluice_door;
grant execute on function fold_payment_counts, watch_work to sluice_worker;
grant execute on function watch_work, watch_counts to sluice_operator;
