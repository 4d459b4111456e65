"""The foundation: tables, guards, roles with row-level security, doors."""

from pathlib import Path

from models.migrations.sql_files import run_sql_file

revision = "0001"
down_revision = None

# In this order: roles name tables, doors are granted to roles.
PARTS = ("tables", "guards", "roles", "doors")


def upgrade() -> None:
    """Run the SQL files of the folder `foundation`."""
    for part in PARTS:
        run_sql_file(Path(__file__).parent / "foundation" / part)
