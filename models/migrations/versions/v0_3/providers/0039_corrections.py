"""A dead letter may hold money to be taken back: a correction."""

from models.migrations.sql_files import run_sql_file

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
