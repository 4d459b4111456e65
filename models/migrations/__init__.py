"""Runs the Alembic migrations with the owner's login, and makes partitions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from models.database_urls import psycopg2_url
from models.migrations.logins import grant_roles, list_logins
from models.migrations.privileges import close_database
from models.postgres_version import check_version

# Two processes that start at once must not migrate at once; any fixed number does, this one spells "sluice".
MIGRATION_LOCK = 0x736C75696365


def configuration(owner_url: str | None = None) -> Config:
    """Return Alembic's configuration for the database that `owner_url` names, or for the revisions alone."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    # Revisions are in a folder for each release.
    config.set_main_option("recursive_version_locations", "true")
    config.attributes["owner_url"] = owner_url and psycopg2_url(owner_url)
    config.attributes["lock"] = MIGRATION_LOCK
    return config


def upgrade(owner_url: str, app_url: str | None, login_urls: Mapping[str, str] | None = None) -> None:
    """Bring the database to the newest revision and make the partitions of the months to come.

    The login of each process type, by type in `login_urls`, becomes a member of that type's roles alone; the one in
    `app_url` a member of all. A login that is missing is created, with the password of its URL. Do nothing where all
    is there already. Raise UnsupportedServer, before anything is changed, where the server is too old.
    """
    logins = list_logins(app_url, login_urls or {})
    engine = create_engine(psycopg2_url(owner_url), poolclass=NullPool)
    with engine.connect() as connection:
        check_version(connection)
    command.upgrade(configuration(owner_url), "head")
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        close_database(connection)
        grant_roles(connection, logins)
    make_partitions(owner_url)


def make_partitions(owner_url: str) -> list[str]:
    """Make the partitions that are missing, of months to come and of rows that fitted into none; return their names.

    Raise sqlalchemy.exc.DBAPIError, also where such rows are locked by others for more than ten seconds.
    """
    engine = create_engine(psycopg2_url(owner_url), poolclass=NullPool)
    made: list[str] = []
    with engine.begin() as connection:
        # Longer than any transaction of ours; no writer needs the default partitions that are locked here.
        connection.execute(text("set local lock_timeout = '10s'"))
        made += connection.execute(text("select take_along_default_rows()")).scalars()
    while True:
        with engine.begin() as connection:
            name = connection.execute(text("select keep_partitions()")).scalar()
        if name is None:
            return made
        made.append(name)


def newest_revision() -> str:
    """Return the revision that this code expects."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    assert head is not None  # noqa: S101  # there is at least one migration in the package
    return head
