-- SQL cannot decrypt: what is stored stays as it is, and a text that is no JSON object is read as the API key.
alter table payment_providers rename column api_key_encrypted to credentials_encrypted;
comment on column payment_providers.credentials_encrypted is
    'JSON object of the credentials by name, encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).';

-- Workers of the version before read the old name until they are restarted. They write it nowhere: their commands are
-- refused, and nothing is stored under two names.
alter table payment_providers add column api_key_encrypted bytea generated always as (credentials_encrypted) stored;
comment on column payment_providers.api_key_encrypted is 'credentials_encrypted, for processes of 0.2.';
