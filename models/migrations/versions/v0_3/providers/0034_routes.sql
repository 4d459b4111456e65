-- Providers for a tenant's deposits in a currency, in order: one is tried after the other for as long as surely none has
-- the payment.
create table provider_routes (
    tenant_id uuid not null,
    currency text not null,
    position smallint not null,
    provider_id uuid not null,
    constraint pk_provider_routes primary key (tenant_id, currency, position),
    constraint uq_provider_routes_tenant_id_currency_provider_id unique (tenant_id, currency, provider_id),
    constraint fk_provider_routes_tenant_id_provider_id foreign key (tenant_id, provider_id)
        references payment_providers (tenant_id, id)
);
comment on table provider_routes is
    'Providers for deposits in a currency that name none, in order; a currency without any goes to the default provider.';

alter table provider_routes enable row level security;
alter table provider_routes force row level security;
create policy owner_sees_all on provider_routes to current_user using (true) with check (true);
create policy web_sees_its_tenant on provider_routes to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on provider_routes to sluice_worker using (true) with check (true);
create policy operator_sees_all on provider_routes to sluice_operator using (true) with check (true);
grant select on provider_routes to sluice_web, sluice_worker, sluice_operator;
grant insert, delete on provider_routes to sluice_operator;

-- Null takes no room in a row: deposits without a route, and calls that are under way, cost what they did.
alter table payment_work add column route_position smallint;
comment on column payment_work.route_position is
    'Position in provider_routes of the provider; null where the payment may not move to the next one, as from a claim on.';
grant update (route_position) on payment_work to sluice_web, sluice_worker, sluice_clerk;

-- Another provider for a payment that none has: only the worker that found the first one not called does that.
grant update (provider_id) on payment_work, payment_transactions to sluice_worker;
