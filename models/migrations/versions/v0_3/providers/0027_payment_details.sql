-- What a deposit says about its payer: personal data, encrypted, in a table that only the calls to providers read. The
-- web writes it and cannot read it back.
create table payment_details (
    payment_id uuid not null,
    tenant_id uuid not null,
    details_encrypted bytea not null,
    request_encrypted bytea,
    constraint pk_payment_details primary key (payment_id),
    constraint fk_payment_details_tenant_id_payment_id foreign key (tenant_id, payment_id)
        references payment_transactions (tenant_id, id)
);
comment on table payment_details is 'The payer''s details and the description of deposits that have any, encrypted.';
comment on column payment_details.details_encrypted is
    'JSON object with customer and description, encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).';
comment on column payment_details.request_encrypted is
    'Exact bytes of the create call, which have the details in them, instead of payment_transactions.provider_request.';

alter table payment_details enable row level security;
alter table payment_details force row level security;
create policy owner_sees_all on payment_details to current_user using (true) with check (true);
create policy web_sees_its_tenant on payment_details to sluice_web
    using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
create policy worker_settles_for_all on payment_details to sluice_worker using (true) with check (true);
create policy operator_sees_all on payment_details to sluice_operator using (true) with check (true);
grant insert on payment_details to sluice_web;
grant select on payment_details to sluice_worker, sluice_operator;
grant update (request_encrypted) on payment_details to sluice_worker;
grant update (details_encrypted, request_encrypted) on payment_details to sluice_operator;
