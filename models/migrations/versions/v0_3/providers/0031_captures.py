"""Payers approve, and their money is captured by a call of its own."""

from models.migrations.sql_files import run_sql_file

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
