"""The tables of the sandbox's one SQLite file."""

# Written into the file, so that a file of another layout is refused instead of misread.
VERSION = 3

_ENDPOINTS = """
CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    merchant TEXT NOT NULL REFERENCES merchants (name),
    url TEXT NOT NULL,
    secrets TEXT NOT NULL,
    events TEXT NOT NULL
);
CREATE INDEX endpoints_merchant ON endpoints (merchant);
"""
_MONEY_BACK = """
CREATE TABLE money_back (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL REFERENCES payments (reference),
    kind TEXT NOT NULL CHECK (kind IN ('refund', 'dispute')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'failed', 'open', 'won', 'lost')),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    request TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX money_back_reference ON money_back (reference);
"""
_EVENTS = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    merchant TEXT NOT NULL,
    reference TEXT NOT NULL REFERENCES payments (reference),
    body BLOB NOT NULL
);
CREATE INDEX events_reference ON events (reference);
"""
# What happened before there were events is known from what was to be delivered.
_EARLIER_EVENTS = """
INSERT INTO events (merchant, reference, body) SELECT merchant, reference, body FROM deliveries
WHERE protocol = 'gocardless' AND json_valid(CAST(body AS TEXT)) ORDER BY id;
"""

SCHEMA = f"""
CREATE TABLE merchants (
    name TEXT PRIMARY KEY,
    api_key_sha256 TEXT NOT NULL UNIQUE,
    provider_id TEXT NOT NULL,
    webhook_secret TEXT NOT NULL,
    protocol TEXT NOT NULL DEFAULT 'sandbox'
);
{_ENDPOINTS}CREATE TABLE payments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    reference TEXT NOT NULL UNIQUE,
    merchant TEXT NOT NULL REFERENCES merchants (name),
    merchant_reference TEXT NOT NULL,
    page_token TEXT NOT NULL,
    status TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    received_minor INTEGER NOT NULL DEFAULT 0,
    received_currency TEXT,
    refunded_minor INTEGER NOT NULL DEFAULT 0 CHECK (refunded_minor <= received_minor),
    error_message TEXT,
    success_url TEXT,
    failure_url TEXT,
    callback_urls TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    expires_at TEXT,
    protocol TEXT NOT NULL DEFAULT 'sandbox',
    disputed_minor INTEGER NOT NULL DEFAULT 0,
    request TEXT NOT NULL DEFAULT '{{}}'
);
CREATE INDEX payments_merchant_reference ON payments (merchant_reference);
CREATE INDEX payments_created_at ON payments (merchant, created_at);
CREATE TABLE idempotency_keys (
    merchant TEXT NOT NULL,
    key TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    status INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (merchant, key)
);
CREATE TABLE create_calls (
    id INTEGER PRIMARY KEY,
    merchant TEXT NOT NULL,
    merchant_reference TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX create_calls_merchant_reference ON create_calls (merchant_reference);
CREATE TABLE movements (
    id INTEGER PRIMARY KEY,
    reference TEXT NOT NULL REFERENCES payments (reference),
    kind TEXT NOT NULL CHECK (kind IN ('capture', 'refund')),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX movements_reference ON movements (reference);
{_MONEY_BACK}CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event TEXT NOT NULL,
    reference TEXT NOT NULL REFERENCES payments (reference),
    merchant TEXT NOT NULL,
    merchant_reference TEXT NOT NULL,
    url TEXT NOT NULL,
    origin TEXT NOT NULL,
    body BLOB NOT NULL,
    signature TEXT NOT NULL DEFAULT 'good',
    timestamp_shift INTEGER NOT NULL DEFAULT 0,
    attempt_limit INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL CHECK (state IN ('pending', 'held', 'delivered', 'given_up')),
    due_at REAL NOT NULL,
    after_id INTEGER REFERENCES deliveries (id),
    held_by INTEGER,
    created_at TEXT NOT NULL,
    protocol TEXT NOT NULL DEFAULT 'sandbox',
    event_type TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT 'application/json',
    endpoint_id TEXT REFERENCES endpoints (id)
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX deliveries_merchant_reference ON deliveries (merchant_reference);
CREATE INDEX deliveries_reference ON deliveries (reference);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
    at TEXT NOT NULL,
    webhook_timestamp INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    duration_ms REAL NOT NULL
);
CREATE INDEX attempts_delivery ON attempts (delivery_id);
CREATE TABLE scripts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL,
    match_reference TEXT,
    match_metadata TEXT,
    next_left INTEGER
);
CREATE INDEX scripts_reference ON scripts (match_reference);
CREATE TABLE script_bindings (
    script_id INTEGER NOT NULL REFERENCES scripts (id) ON DELETE CASCADE,
    merchant_reference TEXT NOT NULL,
    PRIMARY KEY (merchant_reference, script_id)
);
CREATE TABLE script_uses (
    script_id INTEGER NOT NULL REFERENCES scripts (id) ON DELETE CASCADE,
    merchant_reference TEXT NOT NULL,
    section TEXT NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (script_id, merchant_reference, section)
);
CREATE TABLE steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    script_id INTEGER NOT NULL,
    reference TEXT NOT NULL REFERENCES payments (reference),
    step TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'refused')),
    outcome TEXT,
    due_at REAL NOT NULL
);
CREATE INDEX steps_due ON steps (due_at) WHERE state = 'pending';
{_EVENTS}"""

# From the layout of this number to the next: what an older sandbox stored is kept.
UPGRADES = {
    1: """
ALTER TABLE merchants ADD COLUMN protocol TEXT NOT NULL DEFAULT 'sandbox';
ALTER TABLE payments ADD COLUMN protocol TEXT NOT NULL DEFAULT 'sandbox';
ALTER TABLE payments ADD COLUMN disputed_minor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE payments ADD COLUMN request TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deliveries ADD COLUMN protocol TEXT NOT NULL DEFAULT 'sandbox';
ALTER TABLE deliveries ADD COLUMN event_type TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN content_type TEXT NOT NULL DEFAULT 'application/json';
ALTER TABLE deliveries ADD COLUMN endpoint_id TEXT REFERENCES endpoints (id);
"""
    + _ENDPOINTS
    + _MONEY_BACK
    + _EVENTS,
    2: _EVENTS + _EARLIER_EVENTS,
}
