"""Roles for live connections and for proofs of the books, updates by column, bounds of what web may write."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL file of the same name."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver's own cursor: without parameters it leaves the per-cent signs of the SQL alone.
    op.get_bind().connection.cursor().execute(sql)
