"""Live payments are asked for over https alone, but for those of a tenant's own payment app."""

from models.migrations.sql_files import run_sql_file

revision = "0044"
down_revision = "0040"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
