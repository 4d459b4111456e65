-- As the tables were declared (models/tables) when this revision was written; Alembic's own table first.
comment on table alembic_version is 'The newest migration that was applied (Alembic).';

comment on table alerts is 'Alarms, one row per occurrence; posted to ALERT_URL where that is set.';
comment on column alerts.kind is 'Type of alarm, such as payment_underpaid; the list is in docs/OPERATIONS.md.';
comment on column alerts.due_at is 'When it is posted next; null once it is posted, or where ALERT_URL is not set.';
comment on column alerts.attempts is 'Posts that were started.';

comment on table api_keys is 'Secret keys of tenants: found by the public part, proved by the hash of the secret part.';
comment on column api_keys.public_part is 'Start of the key, shown in lists.';
comment on column api_keys.role is 'What it may call: admin, operator, shop or read.';
comment on column api_keys.last_used_at is 'To about a minute; a write for each request would cost too much.';

comment on table audit_logs is
    'Append-only record of changes, written by the transaction itself; partitioned by month of at.';
comment on column audit_logs.id is 'Unique by its sequence; the primary key includes at because partitions require it.';
comment on column audit_logs.actor is
    'Who acted: a process, or the operator named on the command line or by an API key.';
comment on column audit_logs.payment_version is 'Version of the payment that the change produced.';
comment on column audit_logs.detail is 'Repeats what the transaction wrote elsewhere, so that the two can be compared.';

comment on table audit_seals is 'Append-only hash chain over a tenant''s audit rows, one seal for a run of rows.';
comment on column audit_seals.number is 'Position of the seal in the tenant''s chain: 1, 2, 3, ...';
comment on column audit_seals.first_position is
    'Position of its first audit row; rows are counted 1, 2, 3, ... per tenant as they are sealed.';
comment on column audit_seals.last_position is 'Position of its last audit row.';
comment on column audit_seals.audit_ids is 'Its audit rows, in the order of their positions.';
comment on column audit_seals.first_audit_id is 'Smallest id among its audit rows.';
comment on column audit_seals.last_audit_id is 'Largest id among its audit rows.';
comment on column audit_seals.row_marks is
    'First eight bytes of the hash of each row, so that a changed row can be named.';
comment on column audit_seals.rows_sha256 is 'Hash over every column of all its rows.';
comment on column audit_seals.previous_sha256 is 'seal_sha256 of the seal before; 32 zero bytes in the first.';
comment on column audit_seals.seal_sha256 is 'Hash over this seal''s other columns.';

comment on table audit_work is 'Audit rows that no seal covers yet; written by a trigger, deleted by the sealer.';
comment on column audit_work.audit_id is
    'With audit_at the whole key of the audit row, so that one partition is searched.';
comment on column audit_work.due_at is 'When it was queued.';

comment on table client_tokens is
    'Short-lived credentials of one user''s browser; they end with the API key that issued them.';
comment on column client_tokens.public_part is 'Start of the token, by which it is found.';

comment on table dead_letters is
    'Work that needs a person: what it was, why it stopped, and what operators did with it.';
comment on column dead_letters.reason is 'Short code, such as underpaid or attempts_exhausted.';
comment on column dead_letters.amount_minor is
    'What accepting it would credit, in minor units; null where nothing can be accepted.';
comment on column dead_letters.body is 'Body of the webhook or of the provider''s answer, as far as it was kept.';
comment on column dead_letters.attempts is 'Attempts made before it was given up.';
comment on column dead_letters.case_key is 'The same case reported again has the same key and adds no row.';
comment on column dead_letters.case_reference is
    'Provider reference of the money; a later case of one reference supersedes the earlier.';
comment on column dead_letters.history is
    'What operators did with it, oldest first: {at, actor, action}; the audit log has the same, sealed.';

comment on table dropped_partitions is
    'Append-only record of dropped partitions, one row for each tenant that had rows in one.';
comment on column dropped_partitions.audit_id is
    'The audit row of kind partition_dropped that records the same within the chain of seals.';
comment on column dropped_partitions.actor is 'The operator who dropped it.';
comment on column dropped_partitions.begins_at is 'Start of the partition''s month, inclusive.';
comment on column dropped_partitions.ends_at is 'End of the partition''s month, exclusive.';
comment on column dropped_partitions.row_count is 'Rows of the tenant that were dropped.';
comment on column dropped_partitions.first_seal is 'First seal whose audit rows were dropped; null for other tables.';
comment on column dropped_partitions.last_seal is 'Last seal whose audit rows were dropped; null for other tables.';
comment on column dropped_partitions.kept_seals is
    'Seals between those two whose rows are of a later month and were kept.';
comment on column dropped_partitions.previous_sha256 is
    'Hash of the tenant''s drop before, so that none can be removed unnoticed.';

comment on table heartbeats is 'When each periodic duty was last done, by the clock of the database.';

comment on table notification_counters is 'The last number given to a tenant''s notifications.';
comment on column notification_counters.held_after is
    'Notifications up to this number were dropped with their partitions.';

comment on table notification_numbers is
    'The number of each notification in its tenant''s sequence 1, 2, 3, ...; never deleted.';
comment on column notification_numbers.number is 'Gapless per tenant; cursor of long polls, SSE and WebSocket.';

comment on table notification_work is 'Notifications without a number; deleted when they are numbered.';
comment on column notification_work.sequence is
    'Order of numbering; assigned while the payment''s row is locked, hence in the order of its versions.';
comment on column notification_work.due_at is 'When it was queued.';

comment on table notifications is
    'What users are shown, written with the change of the payment; partitioned by month of id.';
comment on column notifications.payload is 'The payment as clients see it at that version.';

comment on table payment_count_deltas is
    'Changes of the number of payments by status; written by a trigger, folded by the sweep.';
comment on column payment_count_deltas.delta is 'How many payments one statement added to the status, or took from it.';

comment on table payment_counts is 'Number of payments by status, folded from payment_count_deltas, for metrics.';

comment on table payment_providers is 'External payment services as one tenant uses them.';
comment on column payment_providers.adapter is 'Name of the code that calls it (app.providers).';
comment on column payment_providers.api_key_encrypted is 'Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).';
comment on column payment_providers.webhook_scheme is 'How its webhooks are signed.';
comment on column payment_providers.signature_header is 'Header of the signature, for scheme hmac-sha256-hex.';
comment on column payment_providers.id_field is
    'Field of the body that identifies a delivery, for scheme hmac-sha256-hex.';
comment on column payment_providers.ip_allowlist is 'Networks that its webhooks may come from; empty for any.';
comment on column payment_providers.currencies is 'Currencies it takes; null for all.';
comment on column payment_providers.calls_max is 'Calls at the same time.';
comment on column payment_providers.attempts_max is 'Attempts of a call before it becomes a dead letter.';

comment on table payment_transactions is 'Payments: one deposit from its request to its end.';
comment on column payment_transactions.version is 'Counts changes; notifications and audit rows name it.';
comment on column payment_transactions.amount_minor is 'Amount asked, in minor units.';
comment on column payment_transactions.exceptions is 'What did not go as asked, such as underpaid, late or conflict.';
comment on column payment_transactions.provider_reference is 'The provider''s own id of the payment.';
comment on column payment_transactions.redirect_url is 'Page of the provider on which the user pays.';
comment on column payment_transactions.success_url is 'Where the user is sent after paying.';
comment on column payment_transactions.failure_url is 'Where the user is sent when the payment fails.';
comment on column payment_transactions.metadata is 'Values of the caller, returned unchanged.';
comment on column payment_transactions.idempotency_scope is
    'Empty for secret keys, user:<id> for client tokens; a key is unique within its scope.';
comment on column payment_transactions.request_sha256 is
    'Hash of the request, so that a repeated key with another request is refused.';
comment on column payment_transactions.provider_request is
    'Exact bytes of the create call, kept so that every attempt sends the same.';
comment on column payment_transactions.provider_request_at is 'First attempt of the create call.';
comment on column payment_transactions.session_closed is 'Whether the payment page at the provider is closed.';
comment on column payment_transactions.received_minor is
    'Total received under provider_reference, credited or held, in minor units.';
comment on column payment_transactions.reversed_minor is 'Total given back, in minor units.';
comment on column payment_transactions.expires_at is 'When the payment expires if no money has arrived.';
comment on column payment_transactions.committed_until is
    'Time by which a slow payment method settles; the payment does not expire before it.';

comment on table payment_webhooks is 'Verified webhooks exactly as they were received; partitioned by month of id.';
comment on column payment_webhooks.external_id is
    'Id that the sender gave (webhook-id); unique per provider through webhook_keys.';
comment on column payment_webhooks.path is
    'Path it was sent to: payment-success, payment-failed, payment-callback or provider.';
comment on column payment_webhooks.body is 'Raw bytes; the signature is over these.';
comment on column payment_webhooks.payment_id is
    'Payment that the verified body names; no foreign key, since it may be unknown or not yet written.';
comment on column payment_webhooks.conflicts_with is
    'Earlier webhook with the same external_id and another body; such a repeat is never applied.';
comment on column payment_webhooks.status is 'pending until it is settled, then processed or failed.';
comment on column payment_webhooks.verdict is 'What settling decided, such as applied or duplicate.';

comment on table payment_work is 'The next provider call that is due for a payment.';
comment on column payment_work.action is 'create, poll or close.';
comment on column payment_work.polls is
    'Polls that were answered: the step in the poll schedule, apart from attempts, which count failures.';
comment on column payment_work.due_at is 'When it is due: schedule, lease, retry timer and order of the queue in one.';
comment on column payment_work.attempts is 'Claims since the last success.';
comment on column payment_work.claim_id is 'The claim that holds the row; a write after a lease must name it.';
comment on column payment_work.postponed is 'How often trouble of the database postponed it, which is no attempt.';

comment on table process_keys is
    'Fingerprints of the encryption keys that running processes hold, reported while they run.';
comment on column process_keys.process is 'Host, process number and start time; unique in an installation.';
comment on column process_keys.place is '0 for the key that encrypts, then the order in which keys are tried.';
comment on column process_keys.at is 'Last report.';

comment on table provider_breakers is
    'Circuit breakers of failing providers: from the first failed call until one is answered.';
comment on column provider_breakers.failures is 'Failed calls in a row.';
comment on column provider_breakers.opens is 'Pauses in a row that they led to.';
comment on column provider_breakers.paused_until is
    'No call is made before it; after it, while opens is above zero, a single one.';
comment on column provider_breakers.probe_until is 'Until when that single call is claimed.';

comment on table provider_secrets is
    'Secrets that a provider signs its webhooks with; several are valid during a rotation.';
comment on column provider_secrets.secret_encrypted is 'Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).';
comment on column provider_secrets.ends_at is 'When it stops being valid; null for the current one.';

comment on table provider_troubles is
    'Providers that cannot be used as configured, such as one whose secret no key decrypts.';
comment on column provider_troubles.at is 'When a process last met the problem.';

comment on table socket_tickets is 'Single-use passes for an SSE connection, since EventSource cannot send headers.';

comment on table tenants is 'Companies whose users deposit money, with their settings and policies.';
comment on column tenants.requests_per_second is 'Rate limit of the API; null for the default.';
comment on column tenants.amount_minor_max is 'Largest amount of a payment, in minor units; null for the default.';
comment on column tenants.tolerance_percent is
    'Difference between asked and received that is credited without a person.';
comment on column tenants.late_policy is
    'Money after a payment has ended: credit it, hold it for a person, or reject it.';
comment on column tenants.over_policy is
    'More money than asked, beyond the tolerance: credit it, hold it for a person, or reject it.';
comment on column tenants.negative_policy is
    'Reversals above the balance: allow a negative balance, or hold them for a person.';
comment on column tenants.payment_seconds is 'Time until an open payment expires.';
comment on column tenants.monitoring_seconds is 'Time after the expiry during which the provider is still polled.';
comment on column tenants.id_fields is 'Fields of a deposit whose values are ids and never refused as card numbers.';

comment on table verification_places is
    'How far a tenant''s books are proved; the next incremental proof starts there.';
comment on column verification_places.seal_number is 'Last seal that was proved.';
comment on column verification_places.seal_sha256 is 'Its hash when it was proved.';
comment on column verification_places.notification_number is 'Last notification number that was proved.';
comment on column verification_places.webhooks_until is 'Webhooks settled before this time are proved.';

comment on table verification_runs is 'Proofs of the books and their results.';
comment on column verification_runs.mode is 'full, or incremental: from verification_places on.';
comment on column verification_runs.tenant_id is 'Null for a proof of all tenants.';
comment on column verification_runs.is_complete is 'False where the time allowed ended before the proof did.';
comment on column verification_runs.counts is 'Rows proved, by kind.';
comment on column verification_runs.broken is 'Invariants that did not hold.';

comment on table wallet_temp_logs is 'Holds of deposits that are under way.';
comment on column wallet_temp_logs.state is 'held from the creation on; applied or released when the payment ends.';

comment on table wallet_transactions is
    'Append-only entries of the books; a transfer is one entry out of a wallet and one into another.';
comment on column wallet_transactions.transfer_id is 'Shared by the two entries of a transfer.';
comment on column wallet_transactions.transfer_key is
    'deposit, case:<id> or reversal:<total>; unique per payment, so that no credit happens twice.';
comment on column wallet_transactions.wallet_version is 'Version of the wallet after this entry.';
comment on column wallet_transactions.direction is '+1 into the wallet, -1 out of it.';

comment on table wallets is 'Balances in one currency: of a user, or of one shard of a provider''s clearing wallet.';
comment on column wallets.kind is 'user or clearing.';
comment on column wallets.shard is
    'Number of the clearing wallet among those of its provider, which share the load; 0 for users.';
comment on column wallets.version is 'Number of entries; each entry has the version that it made.';

comment on table webhook_keys is 'Deduplication keys of webhooks, with the hash of the first body; never deleted.';
comment on column webhook_keys.external_id is 'Id that the sender gave (webhook-id).';
comment on column webhook_keys.webhook_id is 'The first webhook with this key.';
comment on column webhook_keys.duplicates is 'Later deliveries with the same key and body.';

comment on table webhook_refusals is
    'Ring of the last refused webhooks, of fixed size, so that an attacker cannot fill the disk.';
comment on column webhook_refusals.slot is 'Index in the ring.';
comment on column webhook_refusals.sequence is 'Order of the refusals.';
comment on column webhook_refusals.body_head is 'First bytes of the unverified body.';
comment on column webhook_refusals.payment_id is 'Payment that the unverified body names, for searching only.';

comment on table webhook_work is 'Webhooks that wait to be settled.';
comment on column webhook_work.postponed_since is
    'Since when it has run into time limits or lost connections while other webhooks were settled.';
comment on column webhook_work.due_at is 'When it is due: schedule, lease, retry timer and order of the queue in one.';
comment on column webhook_work.attempts is 'Claims since the last success.';
comment on column webhook_work.claim_id is 'The claim that holds the row; a write after a lease must name it.';
comment on column webhook_work.postponed is 'How often trouble of the database postponed it, which is no attempt.';
