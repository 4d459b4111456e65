"""Seals in several chains per tenant, written with the audit rows by a trigger."""

from models.migrations.sql_files import run_sql_file

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
