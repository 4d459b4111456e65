-- A provider that signs nothing notifies a URL that only it knows. Web compares hashes; workers need the token itself,
-- since they name the URL to the provider with each payment.
create table poke_tokens (
    id uuid not null,
    tenant_id uuid not null,
    provider_id uuid not null,
    token_sha256 bytea not null,
    token_encrypted bytea not null,
    created_at timestamp with time zone default now() not null,
    ends_at timestamp with time zone,
    constraint pk_poke_tokens primary key (id),
    constraint ck_poke_tokens_token_sha256 check (octet_length(token_sha256) = 32),
    constraint fk_poke_tokens_tenant_id_provider_id foreign key (tenant_id, provider_id)
        references payment_providers (tenant_id, id)
);
create index ix_poke_tokens_provider_id on poke_tokens (provider_id);
comment on table poke_tokens is
    'Secret parts of the URLs for unsigned notifications; several are valid during a rotation.';
comment on column poke_tokens.token_sha256 is 'Hash of the token, with which a URL is compared.';
comment on column poke_tokens.token_encrypted is 'Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).';
comment on column poke_tokens.ends_at is 'When it stops being valid; null for the current one.';

alter table poke_tokens enable row level security;
alter table poke_tokens force row level security;
create policy owner_sees_all on poke_tokens to current_user using (true) with check (true);
create policy worker_settles_for_all on poke_tokens for select to sluice_worker using (true);
create policy operator_sees_all on poke_tokens to sluice_operator using (true) with check (true);
grant select on poke_tokens to sluice_worker, sluice_operator;
grant insert on poke_tokens to sluice_operator;
grant update (token_encrypted, ends_at) on poke_tokens to sluice_operator;

comment on column payment_webhooks.path is
    'Path it was sent to: payment-success, payment-failed, payment-callback, provider, or poke (unsigned).';

-- The provider of a URL, with the hashes of all its tokens: none fits a token that is wrong or has ended.
create function door_find_poked(wanted uuid)
    returns table (tenant_id uuid, adapter text, ip_allowlist text[], token_hashes bytea[])
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select p.tenant_id, p.adapter, p.ip_allowlist,
           (select coalesce(array_agg(t.token_sha256), '{}') from public.poke_tokens t
            where t.tenant_id = p.tenant_id and t.provider_id = p.id and (t.ends_at is null or t.ends_at > now()))
    from public.payment_providers p
    where p.id = wanted
$$;

-- Stores a poke and makes it due, so that settling makes a lookup of its payment due. Its bytes are stored once a
-- payment and minute: another one within the minute makes the stored one due again, since there is news, not before
-- `wait_seconds` after it was settled. While one waits, the lookup is still to come, and the new one needs nothing: 'coalesced'.
-- 'unknown' without storing it: it names no payment of the provider, and `stores_unknown` is false.
create function door_store_poke(
    fresh_id uuid, wanted_tenant uuid, wanted_provider uuid, named_payment uuid, named_reference text, raw bytea,
    kept_headers jsonb, address text, stores_unknown boolean,
    wait_seconds double precision)
    returns table (outcome text, webhook_id uuid)
    language plpgsql security definer set search_path = pg_catalog, public, pg_temp set lock_timeout = '2s' as $$
#variable_conflict use_column
declare
    its_payment uuid;
    waiting_id uuid;
    last_id uuid;
    last_settled timestamp with time zone;
begin
    select p.id into its_payment from public.payment_transactions p
    where p.tenant_id = wanted_tenant and p.provider_id = wanted_provider and p.id = coalesce(
        named_payment,
        (select r.payment_id from public.provider_references r
         where r.provider_id = wanted_provider and r.reference = named_reference),
        (select q.id from public.payment_transactions q
         where q.provider_id = wanted_provider and q.provider_reference = named_reference limit 1));
    if its_payment is null and not stores_unknown then
        return query select 'unknown', null::uuid;
        return;
    end if;

    if its_payment is not null then
        -- First without and then with the lock of the payment's pokes: a flood of them takes no turns and writes nothing.
        for turn in 1..2 loop
            select h.id into waiting_id
            from public.webhook_work w join public.payment_webhooks h on h.id = w.webhook_id
            where w.payment_id = its_payment and h.path = 'poke' limit 1;
            if waiting_id is not null then
                return query select 'coalesced', waiting_id;
                return;
            end if;
            if turn = 1 then
                perform pg_advisory_xact_lock(hashtext('door_store_poke'), hashtext(its_payment::text));
            end if;
        end loop;
        -- Ids are made by clocks of other machines: the minute is the database's.
        select h.id, h.settled_at into last_id, last_settled from public.payment_webhooks h
        where h.tenant_id = wanted_tenant and h.payment_id = its_payment and h.path = 'poke'
          and h.id >= public.first_id(now() - interval '10 minutes') and h.received_at > now() - interval '1 minute'
        order by h.id desc limit 1;
        if last_id is not null then
            insert into public.webhook_work (webhook_id, tenant_id, payment_id, due_at)
            values (last_id, wanted_tenant, its_payment, greatest(now(), last_settled + make_interval(secs => wait_seconds)))
            on conflict do nothing;
            update public.payment_webhooks set status = 'pending', verdict = null, reason = null, settled_at = null
            where id = last_id;
            return query select 'repeated', last_id;
            return;
        end if;
    end if;

    insert into public.webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)
    values (wanted_provider, 'poke:' || fresh_id, wanted_tenant, sha256(raw), fresh_id);
    insert into public.payment_webhooks
        (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256, remote_address, payment_id)
    values (fresh_id, wanted_tenant, wanted_provider, 'poke:' || fresh_id, 'poke', raw, kept_headers, sha256(raw),
            address, its_payment);
    insert into public.webhook_work (webhook_id, tenant_id, payment_id)
    values (fresh_id, wanted_tenant, its_payment);
    return query select 'stored', fresh_id;
end $$;

revoke execute on function door_find_poked(uuid),
    door_store_poke(uuid, uuid, uuid, uuid, text, bytea, jsonb, text, boolean, double precision) from public;
grant execute on function door_find_poked(uuid),
    door_store_poke(uuid, uuid, uuid, uuid, text, bytea, jsonb, text, boolean, double precision) to sluice_door;
