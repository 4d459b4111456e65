"""Which address at the provider a webhook secret belongs to."""

from models.migrations.sql_files import run_sql_file

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
