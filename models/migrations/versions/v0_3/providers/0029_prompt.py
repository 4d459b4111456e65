"""What the payer reads where the provider asks on a device."""

from models.migrations.sql_files import run_sql_file

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
