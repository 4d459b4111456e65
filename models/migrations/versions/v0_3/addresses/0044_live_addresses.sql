-- Emulators have plain http: at the address of one, events would be facts about live money. A payment app of the tenant's
-- own (adapter custom) may be on a network of its own.
alter table payment_providers add constraint ck_payment_providers_live_address
    check (mode = 'test' or adapter = 'custom' or api_base_url ilike 'https://%');
