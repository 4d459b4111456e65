"""The policy `negative` bounds refunds and debits of ours."""

from models.migrations.sql_files import run_sql_file

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
