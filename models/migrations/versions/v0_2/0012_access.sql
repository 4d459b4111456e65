-- The role of a shop's backend: it takes deposits and decides nothing about held money.
alter table api_keys drop constraint ck_api_keys_role;
alter table api_keys add constraint ck_api_keys_role check (role in ('admin', 'operator', 'shop', 'read'));

-- An optional end, and when the key was last used, to about a minute.
alter table api_keys add column expires_at timestamp with time zone;
alter table api_keys add column last_used_at timestamp with time zone;

-- A tenant's administrators list their own keys through the API; the hash stays out of reach.
grant select (id, tenant_id, public_part, role, label, created_at, expires_at, last_used_at, revoked_at)
    on api_keys to sluice_web;

create or replace function door_find_key(wanted text)
    returns table (key_id uuid, tenant_id uuid, role text, secret_sha256 bytea,
                   allowed_origins text[], requests_per_second integer)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select k.id, k.tenant_id, k.role, k.secret_sha256, t.allowed_origins, t.requests_per_second
    from public.api_keys k join public.tenants t on t.id = k.tenant_id
    where k.public_part = wanted and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
$$;

create or replace function door_find_token(wanted text)
    returns table (token_id uuid, tenant_id uuid, user_id text, key_id uuid, secret_sha256 bytea, expires_at timestamptz,
                   allowed_origins text[], requests_per_second integer)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select c.id, c.tenant_id, c.user_id, c.api_key_id, c.secret_sha256, c.expires_at,
           t.allowed_origins, t.requests_per_second
    from public.client_tokens c
    join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
        and (k.expires_at is null or k.expires_at > now())
    join public.tenants t on t.id = c.tenant_id
    where c.public_part = wanted and c.expires_at > now()
$$;

create or replace function door_take_ticket(wanted bytea)
    returns table (token_id uuid, tenant_id uuid, user_id text, key_id uuid, expires_at timestamptz,
                   allowed_origins text[])
    language sql security definer set search_path = pg_catalog, public, pg_temp as $$
    with taken as (
        delete from public.socket_tickets s where s.ticket_sha256 = wanted
        returning s.tenant_id, s.client_token_id, s.expires_at
    )
    select c.id, c.tenant_id, c.user_id, c.api_key_id, c.expires_at, t.allowed_origins
    from taken
    join public.client_tokens c on c.tenant_id = taken.tenant_id and c.id = taken.client_token_id
    join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
        and (k.expires_at is null or k.expires_at > now())
    join public.tenants t on t.id = c.tenant_id
    where taken.expires_at > now() and c.expires_at > now()
$$;

-- Of the given tokens, those that are no longer good: expired, or their key revoked or expired.
create or replace function door_dead_tokens(wanted uuid[]) returns setof uuid
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select w.id from unnest(wanted) as w(id)
    where not exists (
        select from public.client_tokens c
        join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
            and (k.expires_at is null or k.expires_at > now())
        where c.id = w.id and c.expires_at > now())
$$;

-- Why a credential is no longer good, for the log of failed authentications: queried only after a refusal. Returns
-- the hash as well, to distinguish the caller from one who knows only the public part.
create function door_find_ended(wanted text) returns table (reason text, secret_sha256 bytea)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select case when k.revoked_at is not null then 'revoked' when k.expires_at <= now() then 'expired' end,
           k.secret_sha256
    from public.api_keys k where k.public_part = wanted
    union all
    select case when c.expires_at <= now() then 'expired' when k.revoked_at is not null then 'key_revoked'
                when k.expires_at <= now() then 'key_expired' end, c.secret_sha256
    from public.client_tokens c join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id
    where c.public_part = wanted
$$;

-- Notes that keys were used: one call for all keys of a process, at most once a minute for each.
create function door_note_key_uses(wanted uuid[]) returns void
    language sql security definer set search_path = pg_catalog, public, pg_temp as $$
    update public.api_keys set last_used_at = now() where id in (
        select id from public.api_keys where id = any (wanted) order by id for no key update skip locked)
$$;

-- The payment that a refused delivery names, believed in nothing else: timelines read by it instead of the bytes.
alter table webhook_refusals add column payment_id uuid;
update webhook_refusals r set payment_id = (
    select p.id
    from regexp_matches(encode(r.body_head, 'escape'),
                        '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}', 'g') as named(id)
    join payment_transactions p on p.id = named.id[1]::uuid
    limit 1);
create index ix_webhook_refusals_payment on webhook_refusals (payment_id) where payment_id is not null;

-- As before, with the ids that the body names: the first that is a payment is kept. A process of the release before
-- calls it without them.
drop function door_refuse_webhook(uuid, text, text, bytea);
create function door_refuse_webhook(wanted_provider uuid, why text, address text, head bytea,
                                    named uuid[] default '{}') returns void
    language sql security definer set search_path = pg_catalog, public, pg_temp as $$
    insert into public.webhook_refusals (slot, tenant_id, provider_id, payment_id, reason, remote_address, body_head)
    select nextval('public.refusal_slots'), p.tenant_id, p.id,
           (select t.id from unnest(named) with ordinality as n(id, place)
            join public.payment_transactions t on t.id = n.id order by n.place limit 1),
           why, address, substr(head, 1, 4096)
    from (select 1) as one left join public.payment_providers p on p.id = wanted_provider
    on conflict (slot) do update set sequence = default, tenant_id = excluded.tenant_id,
        provider_id = excluded.provider_id, payment_id = excluded.payment_id, reason = excluded.reason,
        remote_address = excluded.remote_address, body_head = excluded.body_head, at = now()
$$;

revoke all on function door_find_ended, door_note_key_uses, door_refuse_webhook from public;
grant execute on function door_find_ended, door_note_key_uses, door_refuse_webhook to sluice_door;

-- Origins as browsers send them: without the scheme's own port.
update tenants set allowed_origins = array(
    select regexp_replace(regexp_replace(origin, '^(https://[^/]*):443$', '\1'), '^(http://[^/]*):80$', '\1')
    from unnest(allowed_origins) with ordinality as o(origin, place) order by place)
where exists (select from unnest(allowed_origins) as o(origin) where origin ~ '^(https://.*:443|http://.*:80)$');
