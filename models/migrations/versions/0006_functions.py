"""Functions belong to the roles that need them, also those still to be made, and resolve no name in pg_temp."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL file of the same name."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver's own cursor: without parameters it leaves the per-cent signs of the SQL alone.
    op.get_bind().connection.cursor().execute(sql)
