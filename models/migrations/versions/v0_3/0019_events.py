"""Ids of the provider's objects that belong to a payment, and events that have an id of their own."""

from models.migrations.sql_files import run_sql_file

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
