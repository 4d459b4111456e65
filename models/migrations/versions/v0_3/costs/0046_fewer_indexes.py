"""Entries and due calls are read in the order of one index each, and the other one is dropped."""

from models.migrations.sql_files import run_sql_file

revision = "0046"
down_revision = "0043"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
