"""Rights of callers: the role shop, keys that end and their last use, refused deliveries by payment."""

from models.migrations.sql_files import run_sql_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_file(__file__)
