"""Functions belong to the roles that need them, also those still to be made, and resolve no name in pg_temp."""

from models.migrations.sql_files import run_sql_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
