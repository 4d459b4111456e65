"""Housekeeping locks expired tokens and tickets before it deletes them, so that two of it share the work."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Grant what a row lock needs: the right to update one column."""
    op.execute("grant update (expires_at) on client_tokens, socket_tickets to sluice_worker")
