"""Providers in order for a tenant's currency."""

from models.migrations.sql_files import run_sql_file

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
