"""Tenants and providers are for test or for live payments, from their creation on."""

from models.migrations.sql_files import run_sql_file

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
