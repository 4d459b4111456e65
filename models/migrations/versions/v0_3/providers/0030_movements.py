"""Single reversals and reinstatements by their ids, disputes, and what else a notification is about."""

from models.migrations.sql_files import run_sql_file

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
