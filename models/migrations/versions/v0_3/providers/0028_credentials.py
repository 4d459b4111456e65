"""A provider is called with a set of named credentials."""

from models.migrations.sql_files import run_sql_file

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
