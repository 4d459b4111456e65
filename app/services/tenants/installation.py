"""Reads the revision of the database's schema."""

from __future__ import annotations

from sqlalchemy import create_engine, pool, text

from models.database_urls import psycopg2_url

# The same as for the application's own connections.
CONNECT_SECONDS = 3


def read_revision(url: str) -> str | None:
    """Return the revision of the database's schema, or None before the first migration.

    `url` must be a login that may read alembic_version: the owner's.
    """
    engine = create_engine(
        psycopg2_url(url), poolclass=pool.NullPool, connect_args={"connect_timeout": CONNECT_SECONDS}
    )
    with engine.connect() as connection:
        if connection.execute(text("select to_regclass('alembic_version')")).scalar() is None:
            return None
        revision = connection.execute(text("select version_num from alembic_version")).scalar()
    return None if revision is None else str(revision)
