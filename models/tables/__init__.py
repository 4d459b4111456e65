"""The tables, declared once: statements are built from them, and a test compares them with the migrated schema.

Names of modules differ from those of tables.
"""

from models.tables.access import (
    api_keys,
    client_tokens,
    payment_providers,
    poke_tokens,
    provider_routes,
    provider_secrets,
    socket_tickets,
    tenants,
)
from models.tables.deliveries import (
    delivery_attempts,
    delivery_work,
    endpoint_breakers,
    endpoint_deliveries,
    endpoint_secrets,
    webhook_endpoints,
)
from models.tables.giving_back import refunds
from models.tables.inbox import payment_webhooks, webhook_events, webhook_keys, webhook_refusals, webhook_work
from models.tables.ledger import wallet_temp_logs, wallet_transactions, wallets
from models.tables.operations import (
    alerts,
    audit_logs,
    dead_letters,
    heartbeats,
    process_keys,
    provider_breakers,
    provider_troubles,
)
from models.tables.outbox import notification_counters, notification_numbers, notification_work, notifications
from models.tables.payments import (
    payment_count_deltas,
    payment_counts,
    payment_details,
    payment_transactions,
    payment_work,
    provider_references,
)
from models.tables.reversals import payment_disputes, payment_movements, waiting_reversals
from models.tables.seals import (
    audit_seals,
    dropped_partitions,
    verification_chains,
    verification_places,
    verification_runs,
)
from models.tables.spending import debits
