-- A null column without a default: the table is not rewritten, and processes of the version before do not miss it.
alter table payment_transactions add column prompt text;
comment on column payment_transactions.prompt is
    'What the payer reads where the provider asks on a device, not on a page.';
grant update (prompt) on payment_transactions to sluice_worker, sluice_clerk;
