-- The tables that grow with every payment are cut by the month, in UTC: payment_webhooks and notifications by their
-- ids, which begin with the millisecond they were made in (RFC 9562, version 7), audit_logs by the time of its rows.

-- The smallest id that can be made at `moment` or later.
create function first_id(moment timestamp with time zone) returns uuid
    language sql immutable strict parallel safe as $$
    select (lpad(to_hex(greatest(floor(extract(epoch from moment - timestamptz 'epoch') * 1000), 0)::bigint), 12, '0')
            || repeat('0', 20))::uuid
$$;

-- What every partition needs and does not inherit: row-level security of its own, which lets nobody in but the owner,
-- and for the audit the triggers that fire per statement.
create function guard_partition(parent text, part text) returns void
    language plpgsql set search_path = pg_catalog, public as $$
begin
    execute format('alter table public.%I enable row level security', part);
    execute format('alter table public.%I force row level security', part);
    execute format('create policy owner_sees_all on public.%I to current_user using (true) with check (true)', part);
    -- A share of a month's rows is millions: a fiftieth keeps each vacuum short and the planner's numbers fresh.
    execute format('alter table public.%I set (autovacuum_vacuum_scale_factor = 0.02,'
        ' autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)', part);
    if parent = 'payment_webhooks' then
        -- Each row is changed once, when it is settled: its new version fits into the same page.
        execute format('alter table public.%I set (fillfactor = 90)', part);
    elsif parent = 'audit_logs' then
        execute format('create trigger audit_is_not_truncated before truncate on public.%I'
            ' for each statement execute function public.refuse_change()', part);
        execute format('create trigger audit_waits_for_its_seal after insert on public.%I'
            ' referencing new table as written for each statement execute function public.queue_audit_rows()', part);
    end if;
end $$;

-- What fits nowhere, such as an id made by a clock that is wrong, must be stored all the same.
do $$
declare
    parent text;
begin
    foreach parent in array array['payment_webhooks', 'notifications', 'audit_logs'] loop
        execute format('create table %I partition of %I default', parent || '_default', parent);
        perform guard_partition(parent, parent || '_default');
    end loop;
end $$;

-- Makes the partition of a month; returns its name, or null where it is there. It is attached, not made in place: that
-- locks out nobody but those who read the default partition. Rows of that month that lie in the default partition
-- forbid it, unless they are to be taken along.
create function make_partition(parent text, month date, take_along boolean default false) returns text
    language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    part text := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
    fallback text := parent || '_default';
    begins timestamptz := date_trunc('month', month)::timestamp at time zone 'UTC';
    ends timestamptz := (date_trunc('month', month) + interval '1 month')::timestamp at time zone 'UTC';
    key_column text := case when parent = 'audit_logs' then 'at' else 'id' end;
    low text := case when parent = 'audit_logs' then begins::text else public.first_id(begins)::text end;
    high text := case when parent = 'audit_logs' then ends::text else public.first_id(ends)::text end;
    within text := format('%I >= %L and %I < %L', key_column, low, key_column, high);
    is_taken boolean;
begin
    if parent not in ('payment_webhooks', 'notifications', 'audit_logs') then
        raise exception '% is not cut by time', parent;
    end if;
    if to_regclass(format('public.%I', part)) is not null then
        return null;
    end if;
    execute format('select exists (select from public.%I where %s)', fallback, within) into is_taken;
    if is_taken and not take_along then
        return null;
    end if;
    execute format('create table public.%I (like public.%I including defaults including constraints)', part, parent);
    if is_taken then
        execute format('lock table public.%I in access exclusive mode', fallback);
        execute format('insert into public.%I select * from public.%I where %s', part, fallback, within);
        -- The rows stay the same rows; only for this step the audit lets go of them.
        execute format('alter table public.%I disable trigger user', fallback);
        execute format('delete from public.%I where %s', fallback, within);
        execute format('alter table public.%I enable trigger user', fallback);
    end if;
    execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
                   parent, part, low, high);
    perform public.guard_partition(parent, part);
    return part;
end $$;

-- Makes the next partition that is missing of this month and the two after it, and returns its name; null where none
-- is missing, where somebody else is at it, or where a long reader is in the way: nobody waits behind this one for
-- longer than the time given, and there are two months to try again. One partition a transaction, so that its locks
-- are gone at once.
create function keep_partitions() returns text
    language plpgsql security definer set search_path = pg_catalog, public set lock_timeout = '100ms' as $$
declare
    this_month date := date_trunc('month', now() at time zone 'UTC')::date;
    ahead integer;
    parent text;
    made text;
begin
    if not pg_try_advisory_xact_lock(hashtext('keep_partitions')) then
        return null;
    end if;
    for ahead in 0..2 loop
        foreach parent in array array['payment_webhooks', 'notifications', 'audit_logs'] loop
            made := public.make_partition(parent, (this_month + make_interval(months => ahead))::date);
            if made is not null then
                return made;
            end if;
        end loop;
    end loop;
    return null;
exception when lock_not_available then
    return null;
end $$;

-- Gives rows of the default partitions the partitions that they belong to, up to the months that are made ahead, and
-- returns the names. Rows of a later time or of none (an id that carries none) stay where they are.
create function take_along_default_rows() returns setof text
    language plpgsql set search_path = pg_catalog, public as $$
declare
    last_month date := (date_trunc('month', now() at time zone 'UTC') + interval '2 months')::date;
    moment text;
    parent text;
    months date[];
    month date;
    made text;
begin
    foreach parent in array array['payment_webhooks', 'notifications', 'audit_logs'] loop
        moment := case when parent = 'audit_logs' then 'at' else
            $sql$case when substr(id::text, 15, 1) = '7' then
                to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) end$sql$ end;
        execute format('select coalesce(array_agg(distinct date_trunc(''month'', %s at time zone ''UTC'')::date),'
                       ' ''{}'') from public.%I', moment, parent || '_default') into months;
        foreach month in array months loop
            if month <= last_month then
                made := public.make_partition(parent, month, true);
                if made is not null then
                    return next made;
                end if;
            end if;
        end loop;
    end loop;
end $$;

-- Rows that fitted into no partition, counted up to a bound.
create function count_default_rows() returns table (table_name text, total bigint)
    language sql stable security definer set search_path = pg_catalog, public as $$
    select 'payment_webhooks', count(*) from (select from public.payment_webhooks_default limit 100000) as w
    union all
    select 'notifications', count(*) from (select from public.notifications_default limit 100000) as n
    union all
    select 'audit_logs', count(*) from (select from public.audit_logs_default limit 100000) as a
$$;

-- Autovacuum does not analyze a partitioned table, and without its statistics joins over all partitions get bad plans.
create function analyze_partitioned() returns void
    language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    parent text;
begin
    foreach parent in array array['payment_webhooks', 'notifications', 'audit_logs'] loop
        -- Since 18 the partitions themselves can be left to autovacuum.
        execute case when current_setting('server_version_num')::integer >= 180000
            then format('analyze only public.%I', parent) else format('analyze public.%I', parent) end;
    end loop;
end $$;

-- A partition that was dropped, per tenant that had rows in it; append-only. An audit row of the kind
-- partition_dropped records each, is in the tenant's chain of seals, and names the hash of the one before. The audit
-- rows of the seals from first_seal to last_seal are gone, but for kept_seals, whose rows are of a later month.
create table dropped_partitions (
    tenant_id uuid not null,
    audit_id bigint not null,
    audit_at timestamp with time zone not null,
    actor text not null,
    table_name text not null,
    begins_at timestamp with time zone not null,
    ends_at timestamp with time zone not null,
    row_count bigint not null,
    first_seal bigint,
    last_seal bigint,
    kept_seals bigint[] default '{}' not null,
    previous_sha256 bytea not null,
    constraint pk_dropped_partitions primary key (tenant_id, audit_id),
    constraint uq_dropped_partitions_tenant_id_table_name_begins_at unique (tenant_id, table_name, begins_at)
);
alter table dropped_partitions enable row level security;
alter table dropped_partitions force row level security;
create policy owner_sees_all on dropped_partitions to current_user using (true) with check (true);
create policy operator_sees_all on dropped_partitions to sluice_operator using (true) with check (true);
grant select on dropped_partitions to sluice_operator;
create trigger drops_are_append_only before update or delete on dropped_partitions
    for each row execute function refuse_change();
create trigger drops_are_not_truncated before truncate on dropped_partitions
    for each statement execute function refuse_change();

revoke all on function guard_partition, make_partition, keep_partitions, take_along_default_rows, count_default_rows,
    analyze_partitioned from public;
grant execute on function keep_partitions, analyze_partitioned to sluice_worker;
grant execute on function count_default_rows to sluice_operator;
grant execute on function first_id to sluice_web, sluice_worker, sluice_operator, sluice_clerk;

do $$
begin
    while keep_partitions() is not null loop
    end loop;
end $$;
