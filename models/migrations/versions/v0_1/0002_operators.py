"""Cases of reconciliation, histories of dead letters, circuit breakers, and the role for operators."""

from models.migrations.sql_files import run_sql_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
