"""Policies that give late and excess money back, from suspense wallets of the providers."""

from models.migrations.sql_files import run_sql_file

revision = "0041"
down_revision = "0046"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
