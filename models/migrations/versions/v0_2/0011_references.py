"""Bounds on the reference and the redirect URL that a provider's answer leaves in a payment."""

from models.migrations.sql_files import run_sql_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
