-- Fields of a deposit whose values are ids, even where their digits form a valid card number.
alter table tenants add column id_fields text[] not null default '{}';

-- Named by column as well, for roles that have no right to the whole table.
grant select (id_fields) on tenants to sluice_web, sluice_operator;
grant update (id_fields) on tenants to sluice_operator;
