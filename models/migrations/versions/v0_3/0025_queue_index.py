"""The queue of webhooks has one index by due time, that of each tenant."""

from models.migrations.sql_files import run_sql_file

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
