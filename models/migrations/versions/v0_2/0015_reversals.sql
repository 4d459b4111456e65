-- A verified reversal whose money is not credited yet waits here, one row per total. A payment that has any carries the
-- mark 'reversal_waiting' among its exceptions, which no client is shown: settling reads this table for those alone.
create table waiting_reversals (
    payment_id uuid not null,
    tenant_id uuid not null,
    provider_id uuid not null,
    reference text default '' not null,
    currency text not null,
    amount_minor bigint not null,
    webhook_id uuid,
    due_at timestamp with time zone,
    created_at timestamp with time zone default now() not null,
    constraint pk_waiting_reversals primary key (payment_id, reference, currency, amount_minor),
    constraint ck_waiting_reversals_amount_minor check (amount_minor > 0),
    constraint fk_waiting_reversals_tenant_id_payment_id foreign key (tenant_id, payment_id)
        references payment_transactions (tenant_id, id)
);
create index ix_waiting_reversals_due on waiting_reversals (due_at) where due_at is not null;
comment on table waiting_reversals is 'Verified reversals whose money is not credited yet; deleted once they are booked.';
comment on column waiting_reversals.reference is 'The provider reference that the reversal named, empty where none.';
comment on column waiting_reversals.amount_minor is 'The total given back, in minor units.';
comment on column waiting_reversals.due_at is
    'When it becomes a dead letter: the end of the monitoring window. Null once a person has been told.';

alter table waiting_reversals enable row level security;
alter table waiting_reversals force row level security;
create policy owner_sees_all on waiting_reversals to current_user using (true) with check (true);
create policy web_sees_its_tenant on waiting_reversals to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy clerk_sees_its_tenant on waiting_reversals to sluice_clerk
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on waiting_reversals to sluice_worker using (true) with check (true);
create policy operator_sees_all on waiting_reversals to sluice_operator using (true) with check (true);
create policy auditor_sees_all on waiting_reversals to sluice_auditor using (true) with check (true);
grant select on waiting_reversals to sluice_web, sluice_worker, sluice_clerk, sluice_operator, sluice_auditor;
grant insert, delete on waiting_reversals to sluice_worker, sluice_clerk;
grant update (due_at) on waiting_reversals to sluice_worker, sluice_clerk;
