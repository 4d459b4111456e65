"""Comments on every table, and on each column whose name does not say what it holds."""

from models.migrations.sql_files import run_sql_file

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
