"""Columns that settling may write as well: the payment of a webhook, and the time limit for a committed payer."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the time that suspends a payment's expiry, and let the worker name a webhook's payment."""
    op.execute("alter table payment_transactions add column committed_until timestamp with time zone")
    op.execute("grant update (committed_until) on payment_transactions to sluice_worker, sluice_clerk")
    op.execute("grant update (payment_id) on payment_webhooks to sluice_worker")
