"""Work postponed by database errors, providers that cannot be used as configured, and the keys of processes."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL file of the same name."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver's own cursor: without parameters it leaves the per-cent signs of the SQL alone.
    op.get_bind().connection.cursor().execute(sql)
