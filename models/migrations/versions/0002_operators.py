"""What operators need: cases of reconciliation, histories, circuit breakers, and the role that acts for them."""

from pathlib import Path

from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Runs the SQL file beside this one."""
    quote = op.get_bind().dialect.identifier_preparer.quote
    app_login = quote(context.config.attributes["app_login"])
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace("{app_login}", app_login)
    # The driver's own cursor: without parameters it leaves the per-cent signs of the SQL alone.
    op.get_bind().connection.cursor().execute(sql)
