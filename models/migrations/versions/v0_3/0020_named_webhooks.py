"""Webhooks that are stored name their payments by the provider's ids as well."""

from models.migrations.sql_files import run_sql_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
