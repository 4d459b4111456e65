"""Alarms: whether what raised one is still so."""

from models.migrations.sql_files import run_sql_file

revision = "0045"
down_revision = "0041"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
