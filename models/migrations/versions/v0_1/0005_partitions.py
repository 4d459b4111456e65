"""Partitions by the month for the tables that grow with every payment, and the record of those that were dropped."""

from models.migrations.sql_files import run_sql_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
