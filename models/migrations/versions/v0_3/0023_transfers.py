"""Transfers of many legs, which are found by their id; entries are found by wallet and version, not by their own id."""

from models.migrations.sql_files import run_sql_file

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
