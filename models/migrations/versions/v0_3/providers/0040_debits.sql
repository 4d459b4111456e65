-- Money that a tenant's backend takes out of a user's wallet. It is posted by the request itself: there is no provider
-- to wait for. Its entries name it in place of a payment.
create table debits (
    id uuid not null,
    tenant_id uuid not null,
    user_id text not null,
    currency text not null,
    amount_minor bigint not null,
    reference text not null,
    description text,
    idempotency_key text not null,
    request_sha256 bytea not null,
    created_at timestamp with time zone default now() not null,
    reversed_at timestamp with time zone,
    reversal_reason text,
    constraint pk_debits primary key (id),
    constraint uq_debits_tenant_id_id unique (tenant_id, id),
    constraint uq_debits_tenant_id_idempotency_key unique (tenant_id, idempotency_key),
    constraint fk_debits_tenant_id foreign key (tenant_id) references tenants (id),
    constraint ck_debits_amount_minor check (amount_minor > 0),
    constraint ck_debits_reversal_reason check (reversal_reason is null or reversed_at is not null)
);
create index ix_debits_newest on debits (tenant_id, created_at desc, id desc);
create index ix_debits_of_user on debits (tenant_id, user_id, created_at desc, id desc);
create index ix_debits_of_reference on debits (tenant_id, reference, created_at desc, id desc);
comment on table debits is 'What tenants took out of their users'' wallets; each may be reversed once.';
comment on column debits.reference is 'The tenant''s own name for it, such as an order.';
comment on column debits.request_sha256 is
    'Hash of the request, so that a repeated key with another request is refused.';
comment on column debits.created_at is 'Time of its transaction, which its entries and its audit row have as well.';
comment on column debits.reversed_at is 'Time of the transaction that gave it back.';

-- A debit stays as it is, but that it is reversed once.
create function keep_debit() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' or old.reversed_at is not null or new.reversed_at is null
        or to_jsonb(new) - array['reversed_at', 'reversal_reason']
           is distinct from to_jsonb(old) - array['reversed_at', 'reversal_reason'] then
        raise exception '% keeps its rows: % refused', tg_table_name, tg_op using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
revoke all on function keep_debit from public;
create trigger debits_stay after update or delete on debits for each row execute function keep_debit();
create trigger debits_are_not_truncated before truncate on debits for each statement execute function refuse_removal();

alter table debits enable row level security;
alter table debits force row level security;
create policy owner_sees_all on debits to current_user using (true) with check (true);
create policy web_sees_its_tenant on debits to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy clerk_sees_its_tenant on debits to sluice_clerk
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy operator_sees_all on debits to sluice_operator using (true) with check (true);
create policy auditor_sees_all on debits to sluice_auditor using (true) with check (true);
grant select on debits to sluice_web, sluice_clerk, sluice_operator, sluice_auditor;
grant insert (id, tenant_id, user_id, currency, amount_minor, reference, description, idempotency_key, request_sha256)
    on debits to sluice_clerk;
grant update (reversed_at, reversal_reason) on debits to sluice_clerk;

-- The wallet that stands against users' wallets in a debit: one for each tenant and currency, in shards.
alter table wallets drop constraint ck_wallets_kind, drop constraint ck_wallets_owner,
    add constraint ck_wallets_kind check (kind in ('user', 'clearing', 'spending')),
    add constraint ck_wallets_owner check (
        (kind = 'user' and user_id is not null and provider_id is null and shard = 0)
        or (kind = 'clearing' and user_id is null and provider_id is not null)
        or (kind = 'spending' and user_id is null and provider_id is null));
create unique index uq_wallets_spending on wallets (tenant_id, currency, shard) where kind = 'spending';
comment on table wallets is
    'Balances in one currency: of a user, or of one shard of a provider''s clearing or a tenant''s spending wallet.';
comment on column wallets.kind is 'user, clearing or spending.';
comment on column wallets.shard is
    'Number of the wallet among those that share the load of a clearing or spending wallet; 0 for users.';

-- An entry is of a payment or of a debit. Earlier entries satisfy the longer list; the table is locked while it is read.
alter table wallet_transactions add column debit_id uuid, alter column payment_id drop not null,
    drop constraint ck_wallet_transactions_type,
    add constraint ck_wallet_transactions_type
        check (type in ('deposit', 'reversal', 'reinstatement', 'refund', 'debit', 'debit_reversal')),
    add constraint ck_wallet_transactions_subject check (
        (payment_id is null) <> (debit_id is null)
        and (debit_id is not null) = (type in ('debit', 'debit_reversal')));
create unique index uq_wallet_transactions_debit on wallet_transactions (debit_id, transfer_key, direction)
    where debit_id is not null;
comment on table wallet_transactions is
    'Append-only entries of the books; a transfer has those of users'' wallets and one that is their sum, against them.';
comment on column wallet_transactions.transfer_key is
    'deposit, case:<id>, reversal:<total>, reversed:<id>, reinstated:<id>, refund:<id> or refund_failed:<id>; unique per'
    ' payment. debit or debit_reversal; unique per debit.';
comment on column wallet_transactions.payment_id is
    'Of the entry in a clearing wallet: one of the transfer''s payments; null where it is a debit''s.';
comment on column wallet_transactions.debit_id is 'The debit that the entry is of, if it is of one.';

create or replace function check_entries() returns trigger language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
begin
    if exists (
        select from written e where not exists (
            select from public.wallets w
            where w.tenant_id = e.tenant_id and w.id = e.wallet_id and w.currency = e.currency)
    ) or exists (
        select from written e where e.payment_id is not null and not exists (
            select from public.payment_transactions p where p.tenant_id = e.tenant_id and p.id = e.payment_id)
    ) then
        raise exception 'an entry names no wallet or no payment of its tenant' using errcode = 'foreign_key_violation';
    end if;
    if exists (
        select from written e where e.debit_id is not null and not exists (
            select from public.debits d where d.tenant_id = e.tenant_id and d.id = e.debit_id
              and d.amount_minor = e.amount_minor and d.currency = e.currency)
    ) then
        raise exception 'an entry names no debit of its tenant and amount' using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;
