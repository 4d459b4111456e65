-- A tenant takes test payments or live ones, never both, and its providers are of its mode. All that exist are for tests:
-- the sandbox was the only adapter.
alter table tenants add column mode text not null default 'test';
alter table tenants add constraint ck_tenants_mode check (mode in ('test', 'live'));
alter table tenants add constraint uq_tenants_id_mode unique (id, mode);
comment on column tenants.mode is 'test or live; fixed at creation.';

alter table payment_providers add column mode text not null default 'test';
alter table payment_providers add constraint fk_payment_providers_tenant_id_mode
    foreign key (tenant_id, mode) references tenants (id, mode);
alter table payment_providers add constraint ck_payment_providers_test_adapter
    check (adapter <> 'sandbox' or mode = 'test');
comment on column payment_providers.mode is
    'test or live, that of its tenant; fixed at creation. Credentials and events of the other are refused.';

create function refuse_mode_change() returns trigger language plpgsql as $$
begin
    raise exception 'the mode of % is fixed at creation', tg_table_name using errcode = 'check_violation';
end $$;
revoke execute on function refuse_mode_change() from public;
create trigger mode_is_fixed before update of mode on tenants
    for each row when (old.mode is distinct from new.mode) execute function refuse_mode_change();
create trigger mode_is_fixed before update of mode on payment_providers
    for each row when (old.mode is distinct from new.mode) execute function refuse_mode_change();

-- Named by column as well, for roles that have no right to the whole table.
grant select (mode) on tenants to sluice_web, sluice_operator;
grant select (mode) on payment_providers to sluice_web, sluice_clerk, sluice_auditor;
