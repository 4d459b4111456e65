"""What a deposit says about its payer, encrypted."""

from models.migrations.sql_files import run_sql_file

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
