-- What the tables refuse by themselves, and what they count by themselves.

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;

create trigger entries_are_append_only before update or delete on wallet_transactions
    for each row execute function refuse_change();
create trigger entries_are_not_truncated before truncate on wallet_transactions
    for each statement execute function refuse_change();
create trigger audit_is_append_only before update or delete on audit_logs
    for each row execute function refuse_change();
create trigger audit_is_not_truncated before truncate on audit_logs
    for each statement execute function refuse_change();

-- An entry is of a wallet and a payment of its tenant: what foreign keys would say, asked once for all entries of a
-- statement. Their other half is that wallets and payments are never removed and keep what names them. The settings
-- force a plan that uses the keys, also where it was made while the tables were still empty.
create function check_entries() returns trigger language plpgsql security definer
    set search_path = pg_catalog, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
begin
    if exists (
        select from written e where not exists (
            select from public.wallets w
            where w.tenant_id = e.tenant_id and w.id = e.wallet_id and w.currency = e.currency)
    ) or exists (
        select from written e where not exists (
            select from public.payment_transactions p where p.tenant_id = e.tenant_id and p.id = e.payment_id)
    ) then
        raise exception 'an entry names no wallet or no payment of its tenant' using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;

create trigger entries_belong after insert on wallet_transactions
    referencing new table as written for each statement execute function check_entries();

create function refuse_removal() returns trigger language plpgsql as $$
begin
    raise exception '% keeps its rows: % refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;

create trigger wallets_stay before delete or update of id, tenant_id, currency on wallets
    for each row execute function refuse_removal();
create trigger wallets_are_not_truncated before truncate on wallets
    for each statement execute function refuse_removal();
create trigger payments_stay before delete or update of id, tenant_id on payment_transactions
    for each row execute function refuse_removal();
create trigger payments_are_not_truncated before truncate on payment_transactions
    for each statement execute function refuse_removal();

-- Payments by status are counted with the writes, one row per statement, so that no reader ever counts history.
-- Appending never waits for another writer; the sweep folds the deltas into payment_counts.
create function count_inserted_payments() returns trigger language plpgsql security definer
    set search_path = pg_catalog, public as $$
begin
    insert into public.payment_count_deltas (status, delta)
        select status, count(*) from written group by status;
    return null;
end $$;

create function count_updated_payments() returns trigger language plpgsql security definer
    set search_path = pg_catalog, public as $$
begin
    -- The same payments before and after: what stands in both cancels out.
    insert into public.payment_count_deltas (status, delta)
        select status, sum(step) from (
            select status, 1 as step from written
            union all
            select status, -1 from replaced
        ) as steps group by status having sum(step) <> 0;
    return null;
end $$;

create trigger count_inserted after insert on payment_transactions
    referencing new table as written for each statement execute function count_inserted_payments();
create trigger count_updated after update on payment_transactions
    referencing old table as replaced new table as written for each statement execute function count_updated_payments();

-- Queue tables turn over their rows all the time: vacuum them by number of dead rows, at full speed, and never
-- let truncation of the empty tail lock them.
do $$
declare queue_table text;
begin
    foreach queue_table in array array['payment_work', 'webhook_work', 'notification_work', 'payment_count_deltas'] loop
        execute format('alter table %I set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,'
            ' autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off)', queue_table);
    end loop;
end $$;
