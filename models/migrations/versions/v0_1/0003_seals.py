"""Seals over the audit log, and results of verification runs."""

from models.migrations.sql_files import run_sql_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
