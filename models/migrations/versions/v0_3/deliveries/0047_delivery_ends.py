"""Deliveries end with their endpoint, and are deleted once they are old."""

from models.migrations.sql_files import run_sql_file

revision = "0047"
down_revision = "0045"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
