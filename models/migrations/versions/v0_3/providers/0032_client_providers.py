"""Which providers a user's browser may name."""

from models.migrations.sql_files import run_sql_file

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
