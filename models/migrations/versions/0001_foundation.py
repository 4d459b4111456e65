"""The foundation: tables, guards, roles with row-level security, doors."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# In this order: roles name tables, doors are granted to roles.
PARTS = ("tables", "guards", "roles", "doors")


def upgrade() -> None:
    """Run the SQL files of the folder `foundation`."""
    folder = Path(__file__).parent / "foundation"
    for part in PARTS:
        sql = (folder / f"{part}.sql").read_text(encoding="utf-8")
        # The driver's own cursor: without parameters it leaves the per-cent signs of the SQL alone.
        op.get_bind().connection.cursor().execute(sql)
