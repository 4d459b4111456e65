-- The tables of revision 0001; models/*.py say what each is for.

CREATE TABLE alerts (
    id UUID NOT NULL,
    tenant_id UUID,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    message TEXT NOT NULL,
    detail JSONB DEFAULT '{}' NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_alerts PRIMARY KEY (id),
    CONSTRAINT ck_alerts_severity CHECK (severity in ('warning', 'critical'))
);
CREATE INDEX ix_alerts_due ON alerts (due_at) WHERE due_at is not null;
CREATE INDEX ix_alerts_newest ON alerts (at desc);

CREATE TABLE audit_logs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant_id UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    payment_id UUID,
    payment_version INTEGER,
    detail JSONB NOT NULL,
    CONSTRAINT pk_audit_logs PRIMARY KEY (id, at)
)
 PARTITION BY RANGE (at);
CREATE INDEX ix_audit_logs_payment ON audit_logs (tenant_id, payment_id, id);

CREATE TABLE dead_letters (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    kind TEXT NOT NULL,
    payment_id UUID,
    provider_id UUID,
    webhook_id UUID,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    amount_minor BIGINT,
    currency TEXT,
    body BYTEA,
    headers JSONB,
    attempts INTEGER DEFAULT 0 NOT NULL,
    case_key TEXT,
    case_reference TEXT,
    state TEXT DEFAULT 'open' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    closed_by TEXT,
    CONSTRAINT pk_dead_letters PRIMARY KEY (id),
    CONSTRAINT ck_dead_letters_kind CHECK (kind in ('webhook', 'provider_call')),
    CONSTRAINT ck_dead_letters_state CHECK (state in ('open', 'redriven', 'accepted', 'rejected', 'superseded'))
);
CREATE INDEX ix_dead_letters_open ON dead_letters (tenant_id, created_at) WHERE state = 'open';
CREATE INDEX ix_dead_letters_payment ON dead_letters (tenant_id, payment_id);
CREATE UNIQUE INDEX uq_dead_letters_case ON dead_letters (payment_id, case_key);

CREATE TABLE heartbeats (
    name TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_heartbeats PRIMARY KEY (name)
);

CREATE TABLE notification_counters (
    tenant_id UUID NOT NULL,
    last_number BIGINT NOT NULL,
    held_after BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_notification_counters PRIMARY KEY (tenant_id)
);

CREATE TABLE notification_numbers (
    tenant_id UUID NOT NULL,
    number BIGINT NOT NULL,
    notification_id UUID NOT NULL,
    user_id TEXT NOT NULL,
    CONSTRAINT pk_notification_numbers PRIMARY KEY (tenant_id, number)
);
CREATE INDEX ix_notification_numbers_user ON notification_numbers (tenant_id, user_id, number);

CREATE TABLE notification_work (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY,
    notification_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    user_id TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_notification_work PRIMARY KEY (sequence)
);
CREATE INDEX ix_notification_work_tenant ON notification_work (tenant_id, sequence);

CREATE TABLE notifications (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    user_id TEXT NOT NULL,
    payment_id UUID NOT NULL,
    type TEXT NOT NULL,
    payload JSONB NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_notifications PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);
CREATE INDEX ix_notifications_payment ON notifications (tenant_id, payment_id);

CREATE TABLE payment_count_deltas (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    status TEXT NOT NULL,
    delta INTEGER NOT NULL,
    CONSTRAINT pk_payment_count_deltas PRIMARY KEY (id)
);

CREATE TABLE payment_counts (
    status TEXT NOT NULL,
    total BIGINT NOT NULL,
    CONSTRAINT pk_payment_counts PRIMARY KEY (status)
);

CREATE TABLE payment_webhooks (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    provider_id UUID NOT NULL,
    external_id TEXT NOT NULL,
    path TEXT NOT NULL,
    body BYTEA NOT NULL,
    headers JSONB NOT NULL,
    body_sha256 BYTEA NOT NULL,
    remote_address TEXT NOT NULL,
    payment_id UUID,
    conflicts_with UUID,
    status TEXT DEFAULT 'pending' NOT NULL,
    verdict TEXT,
    reason TEXT,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_payment_webhooks PRIMARY KEY (id),
    CONSTRAINT ck_payment_webhooks_status CHECK (status in ('pending', 'processed', 'failed'))
)
 PARTITION BY RANGE (id);
CREATE INDEX ix_payment_webhooks_conflict ON payment_webhooks (conflicts_with) WHERE conflicts_with is not null;
CREATE INDEX ix_payment_webhooks_newest ON payment_webhooks (tenant_id, received_at desc, id desc);
CREATE INDEX ix_payment_webhooks_payment ON payment_webhooks (tenant_id, payment_id);

CREATE TABLE tenants (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    allowed_origins TEXT[] DEFAULT '{}' NOT NULL,
    default_success_url TEXT,
    default_failure_url TEXT,
    default_provider_id UUID,
    requests_per_second INTEGER,
    amount_minor_max BIGINT,
    tolerance_percent NUMERIC(5, 2) DEFAULT 0 NOT NULL,
    late_policy TEXT DEFAULT 'credit' NOT NULL,
    over_policy TEXT DEFAULT 'hold' NOT NULL,
    negative_policy TEXT DEFAULT 'allow' NOT NULL,
    payment_seconds INTEGER DEFAULT 1800 NOT NULL,
    monitoring_seconds INTEGER DEFAULT 86400 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_tenants PRIMARY KEY (id),
    CONSTRAINT ck_tenants_late_policy CHECK (late_policy in ('credit', 'hold', 'reject')),
    CONSTRAINT ck_tenants_over_policy CHECK (over_policy in ('credit', 'hold', 'reject')),
    CONSTRAINT ck_tenants_negative_policy CHECK (negative_policy in ('allow', 'hold')),
    CONSTRAINT ck_tenants_tolerance_percent CHECK (tolerance_percent >= 0 and tolerance_percent <= 100),
    CONSTRAINT uq_tenants_name UNIQUE (name)
);

CREATE TABLE webhook_keys (
    provider_id UUID NOT NULL,
    external_id TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    body_sha256 BYTEA NOT NULL,
    webhook_id UUID NOT NULL,
    duplicates INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_webhook_keys PRIMARY KEY (provider_id, external_id)
);

CREATE TABLE webhook_refusals (
    slot INTEGER NOT NULL,
    sequence BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant_id UUID,
    provider_id UUID,
    reason TEXT NOT NULL,
    remote_address TEXT NOT NULL,
    body_head BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_webhook_refusals PRIMARY KEY (slot)
);

CREATE TABLE webhook_work (
    webhook_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    payment_id UUID,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    claim_id UUID,
    CONSTRAINT pk_webhook_work PRIMARY KEY (webhook_id)
);
CREATE INDEX ix_webhook_work_due ON webhook_work (due_at);
CREATE INDEX ix_webhook_work_payment ON webhook_work (payment_id);
CREATE INDEX ix_webhook_work_tenant_due ON webhook_work (tenant_id, due_at, webhook_id);

CREATE TABLE api_keys (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    public_part TEXT NOT NULL,
    secret_sha256 BYTEA NOT NULL,
    role TEXT NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT uq_api_keys_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT ck_api_keys_role CHECK (role in ('admin', 'operator', 'read')),
    CONSTRAINT fk_api_keys_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT uq_api_keys_public_part UNIQUE (public_part)
);

CREATE TABLE payment_providers (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    adapter TEXT NOT NULL,
    api_base_url TEXT NOT NULL,
    api_key_encrypted BYTEA NOT NULL,
    webhook_scheme TEXT DEFAULT 'standard' NOT NULL,
    signature_header TEXT,
    id_field TEXT,
    ip_allowlist TEXT[] DEFAULT '{}' NOT NULL,
    currencies TEXT[],
    calls_max INTEGER DEFAULT 8 NOT NULL,
    attempts_max INTEGER DEFAULT 12 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    disabled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_payment_providers PRIMARY KEY (id),
    CONSTRAINT uq_payment_providers_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT uq_payment_providers_tenant_id_name UNIQUE (tenant_id, name),
    CONSTRAINT ck_payment_providers_webhook_scheme CHECK (webhook_scheme in ('standard', 'stripe', 'hmac-sha256-hex')),
    CONSTRAINT ck_payment_providers_calls_max CHECK (calls_max > 0),
    CONSTRAINT ck_payment_providers_attempts_max CHECK (attempts_max > 0),
    CONSTRAINT fk_payment_providers_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

CREATE TABLE wallets (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT,
    provider_id UUID,
    shard SMALLINT DEFAULT 0 NOT NULL,
    currency TEXT NOT NULL,
    balance_minor BIGINT DEFAULT 0 NOT NULL,
    version BIGINT DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_wallets PRIMARY KEY (id),
    CONSTRAINT uq_wallets_tenant_id_id_currency UNIQUE (tenant_id, id, currency),
    CONSTRAINT ck_wallets_kind CHECK (kind in ('user', 'clearing')),
    CONSTRAINT ck_wallets_owner CHECK ((kind = 'user' and user_id is not null and provider_id is null and shard = 0) or (kind = 'clearing' and user_id is null and provider_id is not null)),
    CONSTRAINT fk_wallets_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
)
 WITH (fillfactor = 60);
CREATE UNIQUE INDEX uq_wallets_clearing ON wallets (tenant_id, provider_id, currency, shard) WHERE kind = 'clearing';
CREATE UNIQUE INDEX uq_wallets_user ON wallets (tenant_id, user_id, currency) WHERE kind = 'user';

CREATE TABLE client_tokens (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    api_key_id UUID NOT NULL,
    user_id TEXT NOT NULL,
    public_part TEXT NOT NULL,
    secret_sha256 BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_client_tokens PRIMARY KEY (id),
    CONSTRAINT uq_client_tokens_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT fk_client_tokens_tenant_id_api_key_id FOREIGN KEY(tenant_id, api_key_id) REFERENCES api_keys (tenant_id, id),
    CONSTRAINT uq_client_tokens_public_part UNIQUE (public_part)
);
CREATE INDEX ix_client_tokens_expires_at ON client_tokens (expires_at);

CREATE TABLE payment_transactions (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    version INTEGER DEFAULT 1 NOT NULL,
    user_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    exceptions TEXT[] DEFAULT '{}' NOT NULL,
    provider_id UUID NOT NULL,
    provider_reference TEXT,
    redirect_url TEXT,
    failure_reason TEXT,
    success_url TEXT,
    failure_url TEXT,
    metadata JSONB DEFAULT '{}' NOT NULL,
    idempotency_scope TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_sha256 BYTEA NOT NULL,
    provider_request BYTEA,
    provider_request_at TIMESTAMP WITH TIME ZONE,
    session_closed BOOLEAN DEFAULT false NOT NULL,
    received_minor BIGINT,
    received_currency TEXT,
    reversed_minor BIGINT DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_payment_transactions PRIMARY KEY (id),
    CONSTRAINT uq_payment_transactions_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT uq_payment_transactions_tenant_id_idempotency_scope_ide_9eef UNIQUE (tenant_id, idempotency_scope, idempotency_key),
    CONSTRAINT fk_payment_transactions_tenant_id_provider_id FOREIGN KEY(tenant_id, provider_id) REFERENCES payment_providers (tenant_id, id),
    CONSTRAINT ck_payment_transactions_status CHECK (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    CONSTRAINT ck_payment_transactions_amount_minor CHECK (amount_minor > 0 and amount_minor <= 1000000000000000),
    CONSTRAINT ck_payment_transactions_completed_at CHECK ((status = 'completed') = (completed_at is not null)),
    CONSTRAINT fk_payment_transactions_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
)
 WITH (fillfactor = 50);
CREATE INDEX ix_payments_newest ON payment_transactions (tenant_id, created_at DESC, id DESC);
CREATE INDEX ix_payments_reference ON payment_transactions (provider_id, provider_reference);
CREATE INDEX ix_payments_user_newest ON payment_transactions (tenant_id, user_id, created_at DESC, id DESC);

CREATE TABLE provider_secrets (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    provider_id UUID NOT NULL,
    secret_encrypted BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_provider_secrets PRIMARY KEY (id),
    CONSTRAINT fk_provider_secrets_tenant_id_provider_id FOREIGN KEY(tenant_id, provider_id) REFERENCES payment_providers (tenant_id, id)
);
CREATE INDEX ix_provider_secrets_provider_id ON provider_secrets (provider_id);

CREATE TABLE payment_work (
    payment_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    provider_id UUID NOT NULL,
    action TEXT NOT NULL,
    polls INTEGER DEFAULT 0 NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    claim_id UUID,
    CONSTRAINT pk_payment_work PRIMARY KEY (payment_id),
    CONSTRAINT fk_payment_work_tenant_id_payment_id FOREIGN KEY(tenant_id, payment_id) REFERENCES payment_transactions (tenant_id, id),
    CONSTRAINT ck_payment_work_action CHECK (action in ('create', 'poll', 'close'))
);
CREATE INDEX ix_payment_work_claimed ON payment_work (provider_id) WHERE claim_id is not null;
CREATE INDEX ix_payment_work_due ON payment_work (provider_id, (action <> 'create'), due_at);
CREATE INDEX ix_payment_work_due_at ON payment_work (due_at);

CREATE TABLE socket_tickets (
    ticket_sha256 BYTEA NOT NULL,
    tenant_id UUID NOT NULL,
    client_token_id UUID NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_socket_tickets PRIMARY KEY (ticket_sha256),
    CONSTRAINT fk_socket_tickets_tenant_id_client_token_id FOREIGN KEY(tenant_id, client_token_id) REFERENCES client_tokens (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE wallet_temp_logs (
    payment_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    user_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    state TEXT DEFAULT 'held' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_wallet_temp_logs PRIMARY KEY (payment_id),
    CONSTRAINT fk_wallet_temp_logs_tenant_id_payment_id FOREIGN KEY(tenant_id, payment_id) REFERENCES payment_transactions (tenant_id, id),
    CONSTRAINT ck_wallet_temp_logs_state CHECK (state in ('held', 'applied', 'released'))
);
CREATE INDEX ix_wallet_temp_logs_held ON wallet_temp_logs (tenant_id, user_id, currency) WHERE state = 'held';

CREATE TABLE wallet_transactions (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    transfer_key TEXT NOT NULL,
    payment_id UUID NOT NULL,
    wallet_id UUID NOT NULL,
    wallet_version BIGINT NOT NULL,
    currency TEXT NOT NULL,
    direction SMALLINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    balance_before_minor BIGINT NOT NULL,
    balance_after_minor BIGINT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_wallet_transactions PRIMARY KEY (id),
    CONSTRAINT uq_wallet_transactions_wallet_id_wallet_version UNIQUE (wallet_id, wallet_version),
    CONSTRAINT uq_wallet_transactions_payment_id_transfer_key_direction UNIQUE (payment_id, transfer_key, direction),
    CONSTRAINT ck_wallet_transactions_amount_minor CHECK (amount_minor > 0),
    CONSTRAINT ck_wallet_transactions_direction CHECK (direction in (-1, 1)),
    CONSTRAINT ck_wallet_transactions_balance CHECK (balance_after_minor = balance_before_minor + direction * amount_minor),
    CONSTRAINT ck_wallet_transactions_type CHECK (type in ('deposit', 'reversal'))
);
CREATE INDEX ix_wallet_transactions_newest ON wallet_transactions (wallet_id, at desc, id desc);
