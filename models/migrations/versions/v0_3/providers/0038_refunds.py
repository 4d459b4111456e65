"""Refunds that a tenant asks for, and their holds."""

from models.migrations.sql_files import run_sql_file

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
