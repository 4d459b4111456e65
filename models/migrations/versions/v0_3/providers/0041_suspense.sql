-- Money that a policy gives back to its payer never reaches a user's wallet: it waits in the provider's suspense wallet,
-- from which its refund takes it.
alter table tenants drop constraint ck_tenants_late_policy, drop constraint ck_tenants_over_policy,
    add constraint ck_tenants_late_policy check (late_policy in ('credit', 'hold', 'reject', 'refund')),
    add constraint ck_tenants_over_policy check (over_policy in ('credit', 'hold', 'reject', 'refund'));
comment on column tenants.late_policy is
    'Money after a payment has ended: credit it, hold it for a person, reject it, or refund it.';
comment on column tenants.over_policy is
    'More money than asked, beyond the tolerance: credit it, hold it for a person, reject it, or refund the excess.';

alter table wallets drop constraint ck_wallets_kind, drop constraint ck_wallets_owner,
    add constraint ck_wallets_kind check (kind in ('user', 'clearing', 'spending', 'suspense')),
    add constraint ck_wallets_owner check (
        (kind = 'user' and user_id is not null and provider_id is null and shard = 0)
        or (kind in ('clearing', 'suspense') and user_id is null and provider_id is not null)
        or (kind = 'spending' and user_id is null and provider_id is null));
create unique index uq_wallets_suspense on wallets (tenant_id, provider_id, currency, shard) where kind = 'suspense';
comment on table wallets is
    'Balances in one currency: of a user, or of a shard of a provider''s clearing or suspense wallet, or of a tenant''s'
    ' spending wallet.';
comment on column wallets.kind is
    'user, clearing, spending, or suspense: money that a policy gives back and that is no user''s.';
comment on column wallets.shard is
    'Number of the wallet among those that share the load of one that is no user''s; 0 for users.';

-- Earlier entries satisfy the longer list; the table is locked while it is read.
alter table wallet_transactions drop constraint ck_wallet_transactions_type,
    add constraint ck_wallet_transactions_type check (
        type in ('deposit', 'reversal', 'reinstatement', 'refund', 'debit', 'debit_reversal', 'suspense',
                 'suspense_refund', 'suspense_reversal', 'suspense_reinstatement'));
comment on column wallet_transactions.transfer_key is
    'deposit, case:<id>, reversal:<total>, reversed:<id>, reinstated:<id>, refund:<id>, refund_failed:<id>,'
    ' suspense:<refund> or suspense_<movement>; unique per payment. debit or debit_reversal; unique per debit.';

-- A policy's refund has no request of a tenant, and no hold.
alter table refunds alter column idempotency_key drop not null, alter column request_sha256 drop not null,
    add column suspended_minor bigint, add column credited_minor bigint,
    add constraint ck_refunds_origin check (
        (suspended_minor is null) = (idempotency_key is not null)
        and (suspended_minor is null) = (request_sha256 is not null)),
    add constraint ck_refunds_suspended_minor check (suspended_minor in (0, amount_minor)),
    add constraint ck_refunds_credited_minor check (
        credited_minor is null or (suspended_minor is not null and status = 'failed' and credited_minor >= 0));
create index ix_refunds_suspended on refunds (tenant_id) where suspended_minor is not null;
comment on table refunds is 'Refunds that tenants asked for or that a policy makes, from the request to the end.';
comment on column refunds.idempotency_key is 'Null for a policy''s.';
comment on column refunds.suspended_minor is
    'What was booked into suspense for a policy''s, 0 where it repeats one that failed. Null for a tenant''s.';
comment on column refunds.credited_minor is
    'What a person credited from suspense once it had failed; 0 where that was rejected or is tried again.';
grant insert (id, tenant_id, payment_id, reference, amount_minor, currency, status, provider_reference, reason,
    failure_reason, created_at, updated_at, completed_at, suspended_minor, credited_minor) on refunds to sluice_worker;
grant update (credited_minor) on refunds to sluice_worker, sluice_clerk;

-- A constant default: the table is not rewritten.
alter table payment_movements add column suspense_minor bigint default 0 not null,
    add constraint ck_payment_movements_suspense_minor check (suspense_minor between 0 and amount_minor);
comment on column payment_movements.suspense_minor is 'Part of a booked one that is of money in suspense.';
grant update (suspense_minor) on payment_movements to sluice_worker, sluice_clerk;
