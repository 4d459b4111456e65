-- A tenant has several chains of seals, so that transactions which write audit rows at the same time do not wait for
-- each other. Chain 0 has the seals that were made after the commit of their rows; it does not grow any more.
alter table audit_seals add column chain smallint default 0 not null;
alter table audit_seals alter column chain drop default;
alter table audit_seals drop constraint pk_audit_seals;
alter table audit_seals add constraint pk_audit_seals primary key (tenant_id, chain, number);
drop index ix_audit_seals_rows;
create index ix_audit_seals_rows on audit_seals (tenant_id, last_audit_id) where chain = 0;
create index ix_audit_seals_sealed_at on audit_seals (tenant_id, sealed_at) where chain > 0;
comment on table audit_seals is 'Append-only hash chains over a tenant''s audit rows, one seal for a run of rows.';
comment on column audit_seals.chain is
    'The tenant''s chains are 1, 2, 3, ...; 0 has the seals of releases that sealed rows after their commit.';
comment on column audit_seals.number is 'Position of the seal in its chain: 1, 2, 3, ...';
comment on column audit_seals.first_position is
    'Position of its first audit row; the rows of a chain are counted 1, 2, 3, ... as they are sealed.';
comment on column audit_seals.sealed_at is 'The time of its rows, which is that of their transaction; later in chain 0.';

-- How far each chain is proved.
create table verification_chains (
    tenant_id uuid not null,
    chain smallint not null,
    seal_number bigint not null,
    seal_sha256 bytea not null,
    constraint pk_verification_chains primary key (tenant_id, chain)
);
comment on table verification_chains is 'How far a chain of seals is proved; the next incremental proof starts there.';
comment on column verification_chains.seal_number is 'Last seal that was proved.';
comment on column verification_chains.seal_sha256 is 'Its hash when it was proved.';
insert into verification_chains select tenant_id, 0, seal_number, seal_sha256 from verification_places
    where seal_number > 0;
alter table verification_places drop column seal_number, drop column seal_sha256;
alter table verification_chains enable row level security;
alter table verification_chains force row level security;
create policy owner_sees_all on verification_chains to current_user using (true) with check (true);
create policy operator_sees_all on verification_chains to sluice_operator using (true) with check (true);
create policy auditor_sees_all on verification_chains to sluice_auditor using (true) with check (true);
grant select on verification_chains to sluice_operator;
grant select, insert, update (seal_number, seal_sha256) on verification_chains to sluice_auditor;

-- Seals the audit rows of a statement, in the transaction that writes them: one seal for each tenant. It goes to the
-- tenant's first chain that no other transaction extends at present; the lock of the chain ends after the commit is
-- visible, so that the next transaction finds this seal. app/core/audit_seal.py has the form that is hashed.
create function seal_audit_rows() returns trigger language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp as $$
declare
    rows record;
    free integer;
begin
    for rows in
        -- `offset 0` and `materialized`: each text and each hash is made once, however often it is named.
        with hashed as materialized (
            select tenant_id, at, microseconds, id, sha256(convert_to(concat(
                octet_length(id_text), ':', id_text, '36:', tenant_id, octet_length(microseconds), ':', microseconds,
                octet_length(actor), ':', actor, octet_length(kind), ':', kind,
                coalesce(octet_length(payment) || ':', '-'), payment, coalesce(octet_length(version) || ':', '-'),
                version, octet_length(detail_text), ':', detail_text), 'UTF8')) as hash
            from (
                select tenant_id, at, (extract(epoch from at) * 1000000)::bigint::text as microseconds, id,
                       id::text as id_text, actor, kind, payment_id::text as payment, payment_version::text as version,
                       detail::text as detail_text
                from written offset 0) as w
        )
        select tenant_id, at, microseconds, array_agg(id order by id) as ids,
               sha256(string_agg(hash, '' order by id)) as hash,
               string_agg(substr(hash, 1, 8), '' order by id) as marks
        from hashed group by tenant_id, at, microseconds order by tenant_id, at
    loop
        free := 1;
        -- The first half of the key is 'seal', which no other advisory lock has.
        while not pg_try_advisory_xact_lock(x'7365616c'::integer, hashtext(concat(rows.tenant_id, '/', free))) loop
            free := free + 1;
        end loop;
        -- A statement of its own, so that it sees what was committed before the lock was granted.
        insert into public.audit_seals (tenant_id, chain, number, first_position, last_position, audit_ids,
            first_audit_id, last_audit_id, row_marks, rows_sha256, previous_sha256, seal_sha256, sealed_at)
        select rows.tenant_id, free, n.number, n.first_position, n.last_position, rows.ids, rows.ids[1],
               rows.ids[cardinality(rows.ids)], rows.marks, rows.hash, n.previous_sha256,
               sha256(convert_to(concat(
                   '13:sluice-seal-2', '36:', rows.tenant_id, octet_length(free::text), ':', free,
                   octet_length(n.number::text), ':', n.number,
                   octet_length(n.first_position::text), ':', n.first_position,
                   octet_length(n.last_position::text), ':', n.last_position,
                   octet_length(n.ids), ':', n.ids, '64:', encode(rows.hash, 'hex'),
                   '64:', encode(n.previous_sha256, 'hex'),
                   octet_length(rows.microseconds), ':', rows.microseconds), 'UTF8')),
               rows.at
        from (
            select coalesce(l.number, 0) + 1 as number, coalesce(l.last_position, 0) + 1 as first_position,
                   coalesce(l.last_position, 0) + cardinality(rows.ids) as last_position,
                   coalesce(l.seal_sha256, decode(repeat('00', 32), 'hex')) as previous_sha256,
                   array_to_string(rows.ids, ',') as ids
            from (select) as one left join lateral (
                select s.number, s.last_position, s.seal_sha256 from public.audit_seals s
                where s.tenant_id = rows.tenant_id and s.chain = free order by s.number desc limit 1) as l on true) as n;
    end loop;
    return null;
end $$;
revoke all on function seal_audit_rows from public;

-- The trigger, also for rows that are written into a partition by its name.
do $$
declare
    audited text;
begin
    foreach audited in array array(
        select 'audit_logs' union all select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'audit_logs'::regclass)
    loop
        execute format('drop trigger audit_waits_for_its_seal on %I', audited);
        execute format('create trigger audit_is_sealed after insert on %I referencing new table as written'
            ' for each statement execute function seal_audit_rows()', audited);
    end loop;
end $$;
-- The same in the function that prepares new partitions.
do $$
begin
    execute replace(replace(pg_get_functiondef('guard_partition'::regproc), 'queue_audit_rows', 'seal_audit_rows'),
                    'audit_waits_for_its_seal', 'audit_is_sealed');
end $$;

-- Rows that waited for the sealer are sealed now: inserted anew, as it were, into a table with the same trigger.
create table audit_unsealed (like audit_logs);
create trigger audit_is_sealed after insert on audit_unsealed referencing new table as written
    for each statement execute function seal_audit_rows();
insert into audit_unsealed
    select a.* from audit_work w join audit_logs a on a.id = w.audit_id and a.at = w.audit_at and a.tenant_id = w.tenant_id;
drop table audit_unsealed;
drop function queue_audit_rows;
drop table audit_work;
revoke all on audit_seals from sluice_worker;

-- Metrics of the books: what the last proofs have found.
create or replace function watch_books() returns table (name text, label text, total numeric)
    language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select 'books_broken', r.mode, jsonb_array_length(r.broken)::numeric from (
        select distinct on (mode) mode, broken from public.verification_runs
        where tenant_id is null and is_complete order by mode, finished_at desc) as r
    union all
    select 'books_verified_age_seconds', r.mode, extract(epoch from now() - r.finished_at) from (
        select distinct on (mode) mode, finished_at from public.verification_runs
        where tenant_id is null and is_complete order by mode, finished_at desc) as r
$$;
