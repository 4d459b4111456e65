-- A batch credits many users and takes their sum from a clearing wallet in one entry. Its legs are found by the id of the
-- transfer; entries that were written before are transfers of two legs and stay as they are.
create index ix_wallet_transactions_transfer on wallet_transactions (transfer_id);
-- Nothing reads an entry by its own id.
alter table wallet_transactions drop constraint pk_wallet_transactions;
alter table wallet_transactions drop constraint uq_wallet_transactions_wallet_id_wallet_version;
alter table wallet_transactions add constraint pk_wallet_transactions primary key (wallet_id, wallet_version);

comment on table wallet_transactions is
    'Append-only entries of the books; a transfer has those of users'' wallets and one that is their sum, against them.';
comment on column wallet_transactions.transfer_id is
    'Shared by the entries of a transfer; in the clearing wallet it has one.';
comment on column wallet_transactions.payment_id is 'Of the entry in a clearing wallet: one of the transfer''s payments.';
