-- A refund that a tenant asked for. A payment that has any carries the mark 'has_refunds' among its exceptions, which no
-- client is shown: settling reads this table for those alone.
create table refunds (
    id uuid not null,
    tenant_id uuid not null,
    payment_id uuid not null,
    reference text not null,
    amount_minor bigint not null,
    currency text not null,
    status text default 'pending' not null,
    provider_reference text,
    reason text,
    failure_reason text,
    metadata jsonb default '{}' not null,
    idempotency_key text not null,
    request_sha256 bytea not null,
    provider_request bytea,
    sent_at timestamp with time zone,
    called_at timestamp with time zone,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    completed_at timestamp with time zone,
    constraint pk_refunds primary key (id),
    constraint uq_refunds_tenant_id_idempotency_key unique (tenant_id, idempotency_key),
    constraint fk_refunds_tenant_id_payment_id foreign key (tenant_id, payment_id)
        references payment_transactions (tenant_id, id),
    constraint ck_refunds_status check (status in ('pending', 'processing', 'completed', 'failed')),
    constraint ck_refunds_amount_minor check (amount_minor > 0),
    constraint ck_refunds_provider_reference check (char_length(provider_reference) <= 512)
);
create index ix_refunds_payment_id on refunds (payment_id);
create index ix_refunds_newest on refunds (tenant_id, created_at desc, id desc);
comment on table refunds is 'Refunds that tenants asked for, from the request to the end.';
comment on column refunds.reference is 'The provider reference of the money.';
comment on column refunds.status is 'pending, processing once the provider has it, completed or failed.';
comment on column refunds.provider_reference is 'The provider''s id of the refund.';
comment on column refunds.request_sha256 is
    'Hash of the request, so that a repeated key with another request is refused.';
comment on column refunds.provider_request is 'Exact bytes of the call, kept so that every attempt sends the same.';
comment on column refunds.sent_at is 'First attempt of the call.';
comment on column refunds.called_at is 'Last attempt of a call about it.';
comment on column refunds.completed_at is 'When its money moved; it stays where the refund failed later.';

alter table refunds enable row level security;
alter table refunds force row level security;
create policy owner_sees_all on refunds to current_user using (true) with check (true);
create policy web_sees_its_tenant on refunds to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy clerk_sees_its_tenant on refunds to sluice_clerk
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on refunds to sluice_worker using (true) with check (true);
create policy operator_sees_all on refunds to sluice_operator using (true) with check (true);
create policy auditor_sees_all on refunds to sluice_auditor using (true) with check (true);
grant select on refunds to sluice_web, sluice_worker, sluice_clerk, sluice_operator, sluice_auditor;
grant insert on refunds to sluice_clerk;
grant update (status, provider_reference, failure_reason, updated_at, completed_at) on refunds
    to sluice_worker, sluice_clerk;
grant update (provider_request, sent_at, called_at) on refunds to sluice_worker;

-- Constant defaults: the table is not rewritten. A deposit has one hold, each refund of it one more.
alter table wallet_temp_logs
    add column kind text default 'deposit' not null,
    add column refund_id uuid default '00000000-0000-0000-0000-000000000000' not null;
alter table wallet_temp_logs drop constraint pk_wallet_temp_logs,
    add constraint pk_wallet_temp_logs primary key (payment_id, refund_id),
    add constraint ck_wallet_temp_logs_kind
        check ((kind = 'refund') = (refund_id <> '00000000-0000-0000-0000-000000000000')),
    add constraint ck_wallet_temp_logs_kinds check (kind in ('deposit', 'refund'));
comment on table wallet_temp_logs is 'Holds of deposits and refunds that are under way.';
comment on column wallet_temp_logs.kind is 'deposit, or refund: money that is not available any more.';
comment on column wallet_temp_logs.refund_id is 'The refund; all zeros for a deposit.';
comment on column wallet_temp_logs.state is
    'held from the creation on; applied or released when the payment or refund ends.';
grant insert on wallet_temp_logs to sluice_clerk;

alter table payment_work drop constraint ck_payment_work_action;
alter table payment_work add constraint ck_payment_work_action
    check (action in ('create', 'advance', 'refund', 'poll', 'close'));
comment on column payment_work.action is 'create, advance (capture what the payer approved), refund, poll or close.';

-- Rows of the version before satisfy the longer lists as well; the tables are locked while they are read.
alter table payment_movements drop constraint ck_payment_movements_state,
    add constraint ck_payment_movements_state check (state in ('waiting', 'booked', 'rejected', 'refund'));
comment on column payment_movements.state is
    'waiting, booked, rejected, or refund where it is a refund of ours, which is booked.';
alter table wallet_transactions drop constraint ck_wallet_transactions_type,
    add constraint ck_wallet_transactions_type check (type in ('deposit', 'reversal', 'reinstatement', 'refund'));
comment on column wallet_transactions.transfer_key is
    'deposit, case:<id>, reversal:<total>, reversed:<id>, reinstated:<id>, refund:<id> or refund_failed:<id>; unique per payment.';
comment on column notifications.about is
    'What it is about in addition to the payment, by its name: {dispute: {...}} or {refund: {...}}.';
