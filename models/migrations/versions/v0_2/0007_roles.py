"""Roles for live connections and for proofs of the books, updates by column, bounds of what web may write."""

from models.migrations.sql_files import run_sql_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
