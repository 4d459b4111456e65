-- A batch changes all rows of a page in one transaction, so that the new versions need as much room as the old ones.
-- With it they stay in their page: a webhook's verdict then writes no index (and of the wide row only what changed), a
-- hold's end one index instead of another page as well. A settled webhook is a little longer than one that waits.
alter table wallet_temp_logs set (fillfactor = 50);
alter table wallets set (fillfactor = 50);

-- What a wallet and a payment keep is checked after the update: before it, PostgreSQL would lock each updated row for
-- the trigger, one more write a row, whichever columns are changed.
drop trigger wallets_stay on wallets;
create trigger wallets_stay before delete on wallets for each row execute function refuse_removal();
create trigger wallets_keep_their_keys after update of id, tenant_id, currency on wallets
    for each row execute function refuse_removal();
drop trigger payments_stay on payment_transactions;
create trigger payments_stay before delete on payment_transactions for each row execute function refuse_removal();
create trigger payments_keep_their_keys after update of id, tenant_id on payment_transactions
    for each row execute function refuse_removal();

do $$
begin
    execute replace(pg_get_functiondef('guard_partition'::regproc), '(fillfactor = 90)', '(fillfactor = 45)');
end $$;

do $$
declare
    part text;
begin
    for part in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'public.payment_webhooks'::regclass
    loop
        execute format('alter table public.%I set (fillfactor = 45)', part);
    end loop;
end $$;
