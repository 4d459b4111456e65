"""Leases of webhooks in a column without an index, so that a claim writes no index."""

from models.migrations.sql_files import run_sql_file

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
