"""An operator's query that a provider has answered ends the provider's pause."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Grant the clerk the one column that ends a pause; the policy lets it begin or lengthen none."""
    op.execute("grant update (paused_until) on provider_breakers to sluice_clerk")
    op.execute(
        "create policy clerk_only_ends_pauses on provider_breakers as restrictive for update to sluice_clerk"
        " using (true) with check (paused_until <= now())"
    )
