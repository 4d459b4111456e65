"""Reversals that came before the money they take back."""

from models.migrations.sql_files import run_sql_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
