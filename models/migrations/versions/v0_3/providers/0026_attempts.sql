-- A null column without a default: the table is not rewritten, and processes of the version before do not miss it.
alter table payment_transactions add column last_attempt_error text;
comment on column payment_transactions.last_attempt_error is
    'Why the last attempt to pay was declined, for the payer.';
grant update (last_attempt_error) on payment_transactions to sluice_worker, sluice_clerk;
