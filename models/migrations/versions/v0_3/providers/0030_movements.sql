-- A movement of money that a provider reported with an id: its row is written with its effect, whose key it is. A payment
-- that has any carries the mark 'has_movements' among its exceptions, which no client is shown: settling reads this table
-- for those alone.
create table payment_movements (
    payment_id uuid not null,
    kind text not null,
    reversal_id text not null,
    tenant_id uuid not null,
    provider_id uuid not null,
    reference text,
    currency text not null,
    amount_minor bigint not null,
    state text not null,
    webhook_id uuid,
    due_at timestamp with time zone,
    created_at timestamp with time zone default now() not null,
    constraint pk_payment_movements primary key (payment_id, kind, reversal_id),
    constraint ck_payment_movements_kind check (kind in ('reversed', 'reinstated')),
    constraint ck_payment_movements_state check (state in ('waiting', 'booked', 'rejected')),
    constraint ck_payment_movements_amount_minor check (amount_minor > 0),
    constraint fk_payment_movements_tenant_id_payment_id foreign key (tenant_id, payment_id)
        references payment_transactions (tenant_id, id)
);
create index ix_payment_movements_due on payment_movements (due_at) where due_at is not null;
comment on table payment_movements is 'Money that went back or came again in single steps with ids, as first reported.';
comment on column payment_movements.kind is 'reversed, or reinstated for money that came again.';
comment on column payment_movements.reversal_id is
    'The provider''s id of the reversal, or that of one cycle of it; the reinstatement has the same.';
comment on column payment_movements.reference is 'The provider reference that it is booked under.';
comment on column payment_movements.state is 'waiting, booked or rejected.';
comment on column payment_movements.webhook_id is 'The webhook that reported it first; null for a lookup.';
comment on column payment_movements.due_at is
    'When a waiting one becomes a dead letter. Null once a person has to decide, or it is settled.';

-- A dispute moves no money. A payment that has any carries the mark 'has_disputes'.
create table payment_disputes (
    payment_id uuid not null,
    dispute_id text not null,
    tenant_id uuid not null,
    state text not null,
    reason text,
    evidence_due_at timestamp with time zone,
    opened_at timestamp with time zone not null,
    closed_at timestamp with time zone,
    constraint pk_payment_disputes primary key (payment_id, dispute_id),
    constraint ck_payment_disputes_state check (state in ('opened', 'won', 'lost')),
    constraint ck_payment_disputes_closed_at check ((state = 'opened') = (closed_at is null)),
    constraint fk_payment_disputes_tenant_id_payment_id foreign key (tenant_id, payment_id)
        references payment_transactions (tenant_id, id)
);
comment on table payment_disputes is 'Payers'' disputes at the provider.';
comment on column payment_disputes.state is 'opened, won or lost.';
comment on column payment_disputes.reason is 'The payer''s, in the provider''s words.';
comment on column payment_disputes.evidence_due_at is 'By when the provider wants evidence.';
comment on column payment_disputes.opened_at is 'When it was first reported.';

alter table payment_movements enable row level security;
alter table payment_movements force row level security;
create policy owner_sees_all on payment_movements to current_user using (true) with check (true);
create policy web_sees_its_tenant on payment_movements to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy clerk_sees_its_tenant on payment_movements to sluice_clerk
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on payment_movements to sluice_worker using (true) with check (true);
create policy operator_sees_all on payment_movements to sluice_operator using (true) with check (true);
create policy auditor_sees_all on payment_movements to sluice_auditor using (true) with check (true);
grant select on payment_movements to sluice_web, sluice_worker, sluice_clerk, sluice_operator, sluice_auditor;
grant insert on payment_movements to sluice_worker, sluice_clerk;
grant update (reference, state, due_at) on payment_movements to sluice_worker, sluice_clerk;

alter table payment_disputes enable row level security;
alter table payment_disputes force row level security;
create policy owner_sees_all on payment_disputes to current_user using (true) with check (true);
create policy web_sees_its_tenant on payment_disputes to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy clerk_sees_its_tenant on payment_disputes to sluice_clerk
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on payment_disputes to sluice_worker using (true) with check (true);
create policy operator_sees_all on payment_disputes to sluice_operator using (true) with check (true);
create policy auditor_sees_all on payment_disputes to sluice_auditor using (true) with check (true);
grant select on payment_disputes to sluice_web, sluice_worker, sluice_clerk, sluice_operator, sluice_auditor;
grant insert on payment_disputes to sluice_worker, sluice_clerk;
grant update (state, reason, evidence_due_at, closed_at) on payment_disputes to sluice_worker, sluice_clerk;

-- Entries of the version before satisfy the longer list as well; the table is locked while they are read.
alter table wallet_transactions drop constraint ck_wallet_transactions_type,
    add constraint ck_wallet_transactions_type check (type in ('deposit', 'reversal', 'reinstatement'));
comment on column wallet_transactions.transfer_key is
    'deposit, case:<id>, reversal:<total>, reversed:<id> or reinstated:<id>; unique per payment.';

-- Null where a notification is about the payment alone.
alter table notifications add column about jsonb;
comment on column notifications.about is 'What it is about in addition to the payment, by its name: {dispute: {...}}.';
