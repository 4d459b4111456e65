"""A notification that is written with its number holds it."""

from models.migrations.sql_files import run_sql_file

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
