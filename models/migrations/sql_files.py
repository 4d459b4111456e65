"""Runs the SQL files of revisions."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run_sql_file(revision_file: str | Path) -> None:
    """Run the SQL file that has the name of the revision's file, in the transaction of the migration."""
    sql = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver's own cursor: without parameters it leaves the per-cent signs of the SQL alone.
    op.get_bind().connection.cursor().execute(sql)
