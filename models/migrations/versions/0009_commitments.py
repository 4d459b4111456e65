"""A webhook's payment may be filled in when the webhook is settled."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Lets the worker name the payment that only the adapter's translation finds."""
    op.execute("grant update (payment_id) on payment_webhooks to sluice_worker")
