"""Notifications that nobody signs: the tokens of their URLs, and a function that stores them."""

from models.migrations.sql_files import run_sql_file

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
