-- Which of a tenant's providers a browser may choose. So far a client token could name all of them: from now on only
-- the default one, and those that an operator allows.
alter table payment_providers add column client_selectable boolean default false not null;
comment on column payment_providers.client_selectable is
    'Whether a deposit with a client token may name it; the default provider always can be.';
grant select (client_selectable) on payment_providers to sluice_web, sluice_operator;
grant insert (client_selectable), update (client_selectable) on payment_providers to sluice_operator;
-- Whether a provider answers at present, as its tenant's backend may know; its errors are for operators.
grant select (provider_id, tenant_id, paused_until) on provider_breakers to sluice_web;
