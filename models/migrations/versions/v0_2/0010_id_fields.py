"""A tenant names the fields that hold ids, which are never masked as card numbers."""

from models.migrations.sql_files import run_sql_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
