-- Ids of the provider's objects that belong to a payment, in addition to its reference: a webhook about a charge or a capture
-- names the payment by them.
create table provider_references (
    provider_id uuid not null,
    reference text not null,
    tenant_id uuid not null,
    payment_id uuid not null,
    created_at timestamp with time zone default now() not null,
    constraint pk_provider_references primary key (provider_id, reference),
    constraint ck_provider_references_reference check (char_length(reference) <= 512),
    constraint fk_provider_references_tenant_id_payment_id foreign key (tenant_id, payment_id)
        references payment_transactions (tenant_id, id),
    constraint fk_provider_references_tenant_id_provider_id foreign key (tenant_id, provider_id)
        references payment_providers (tenant_id, id)
);
create index ix_provider_references_payment_id on provider_references (payment_id);
comment on table provider_references is
    'Ids of the provider''s objects that belong to a payment, with which facts may name it as well as by its reference.';

-- Events that have an id of their own: a delivery may carry several, and an event may come in several deliveries.
create table webhook_events (
    provider_id uuid not null,
    event_id text not null,
    tenant_id uuid not null,
    webhook_id uuid not null,
    payment_id uuid,
    verdict text not null,
    reason text not null,
    settled_at timestamp with time zone default now() not null,
    constraint pk_webhook_events primary key (provider_id, event_id),
    constraint fk_webhook_events_tenant_id_provider_id foreign key (tenant_id, provider_id)
        references payment_providers (tenant_id, id)
);
comment on table webhook_events is
    'Settled events that have an id of their own: deliveries may carry several, and an event may come in several.';
comment on column webhook_events.event_id is 'The provider''s id of the event.';
comment on column webhook_events.webhook_id is 'The delivery with which it was settled.';
comment on column webhook_events.verdict is 'What settling decided, as payment_webhooks has it.';

do $$
declare
    part text;
begin
    foreach part in array array['provider_references', 'webhook_events'] loop
        execute format('alter table %I enable row level security', part);
        execute format('alter table %I force row level security', part);
        execute format('create policy owner_sees_all on %I to current_user using (true) with check (true)', part);
        execute format('create policy clerk_sees_its_tenant on %I to sluice_clerk'
            ' using (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)'
            ' with check (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)', part);
        execute format('create policy worker_settles_for_all on %I to sluice_worker using (true) with check (true)',
            part);
        execute format('create policy operator_sees_all on %I to sluice_operator using (true) with check (true)', part);
        execute format('create policy auditor_sees_all on %I to sluice_auditor using (true) with check (true)', part);
        execute format('grant select on %I to sluice_worker, sluice_clerk, sluice_operator, sluice_auditor', part);
    end loop;
end $$;
grant insert on provider_references to sluice_worker, sluice_clerk;
grant insert on webhook_events to sluice_worker;
-- A webhook that an operator makes due again is settled with all its events.
grant delete on webhook_events to sluice_clerk;
