"""Deliveries: tenants' webhook endpoints, what is sent to them, and the role that sends it."""

from models.migrations.sql_files import run_sql_file

revision = "0043"
down_revision = "0044"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
