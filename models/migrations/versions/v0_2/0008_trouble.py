"""Work postponed by database errors, providers that cannot be used as configured, and the keys of processes."""

from models.migrations.sql_files import run_sql_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
