-- Null columns, and one with a constant default: the table is not rewritten.
alter table payment_transactions
    add column approved_until timestamp with time zone,
    add column approvals integer default 0 not null,
    add column capture_sent_at timestamp with time zone;
comment on column payment_transactions.approved_until is
    'The payer has approved: time by which the money has to be captured.';
comment on column payment_transactions.approvals is 'How often the payer has approved.';
comment on column payment_transactions.capture_sent_at is
    'First attempt of the capture of the last approval; the payment is neither cancelled nor expired from then on.';
grant update (approved_until, approvals, capture_sent_at) on payment_transactions to sluice_worker, sluice_clerk;

comment on column payment_work.action is 'create, advance (capture what the payer approved), poll or close.';
alter table payment_work drop constraint ck_payment_work_action;
alter table payment_work add constraint ck_payment_work_action
    check (action in ('create', 'advance', 'poll', 'close'));
-- Calls that a payer waits for come before polls: creates, and now captures too.
drop index ix_payment_work_due;
create index ix_payment_work_due on payment_work (provider_id, (action = any (array['poll', 'close'])), due_at);
