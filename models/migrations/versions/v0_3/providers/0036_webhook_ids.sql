-- A provider shows a secret once: a repeated registration keeps the address whose secret is stored.
alter table provider_secrets add column registration text;
comment on column provider_secrets.registration is
    'The provider''s id of the webhook address that signs with it, where Sluice registered it there.';
