"""Debits: users' wallets are spent against a spending wallet of their tenant."""

from models.migrations.sql_files import run_sql_file

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
