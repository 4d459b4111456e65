-- A delivery that names its payment by an id of the provider's is found by it, so that its payment's expiry waits for
-- it and its timeline shows it before it is settled.
drop function door_store_webhooks(uuid[], uuid[], uuid[], text[], text[], bytea[], jsonb[], bytea[], text[], uuid[]);
create function door_store_webhooks(
    ids uuid[], tenant_ids uuid[], provider_ids uuid[], external_ids text[], paths text[], bodies bytea[],
    headers jsonb[], sha256s bytea[], addresses text[], payment_ids uuid[],
    named_references text[])
    returns table (delivery_id uuid, webhook_id uuid, is_duplicate boolean, is_conflict boolean)
    language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
declare
    fresh_ids uuid[];
begin
    -- Few name their payment by an id of the provider's.
    if array_remove(named_references, null) <> '{}' then
        select array_agg(coalesce(i.payment_id, r.payment_id, p.id) order by i.place) into payment_ids
        from unnest(payment_ids, provider_ids, named_references) with ordinality
            as i(payment_id, provider_id, reference, place)
        left join public.provider_references r on r.provider_id = i.provider_id and r.reference = i.reference
        left join public.payment_transactions p
            on p.provider_id = i.provider_id and p.provider_reference = i.reference;
    end if;

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
revoke execute on function door_store_webhooks(
    uuid[], uuid[], uuid[], text[], text[], bytea[], jsonb[], bytea[], text[], uuid[], text[]) from public;
grant execute on function door_store_webhooks(
    uuid[], uuid[], uuid[], text[], text[], bytea[], jsonb[], bytea[], text[], uuid[], text[]) to sluice_door;
