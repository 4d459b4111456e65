"""Room in the pages of rows that are changed once, so that the change writes no index."""

from models.migrations.sql_files import run_sql_file

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
