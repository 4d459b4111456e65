"""Alembic migrations, run with the owner's login."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from models.migrations.privileges import close_database
from models.postgres_version import check_version
from models.session import psycopg2_url


def configuration(owner_url: str, app_url: str) -> Config:
    """Returns Alembic's configuration for the database that `owner_url` names.

    The login in `app_url` is the one that is granted the application's roles.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["owner_url"] = psycopg2_url(owner_url)
    config.attributes["app_login"] = make_url(app_url).username
    return config


def upgrade(owner_url: str, app_url: str) -> None:
    """Brings the database to the newest revision and makes the partitions of the months to come.

    Does nothing where all is there already. Raises UnsupportedServer, before anything is changed, where the server is
    too old.
    """
    engine = create_engine(psycopg2_url(owner_url), poolclass=NullPool)
    with engine.connect() as connection:
        check_version(connection)
    command.upgrade(configuration(owner_url, app_url), "head")
    with engine.begin() as connection:
        close_database(connection)
    make_partitions(owner_url)


def make_partitions(owner_url: str) -> list[str]:
    """Makes the partitions that are missing, of months to come and of rows that fitted into none; returns their names.

    Raises sqlalchemy.exc.DBAPIError, also where such rows are locked by others for more than ten seconds.
    """
    engine = create_engine(psycopg2_url(owner_url), poolclass=NullPool)
    made: list[str] = []
    with engine.begin() as connection:
        # Longer than any transaction of ours; nobody who writes needs the default partitions that are locked here.
        connection.execute(text("set local lock_timeout = '10s'"))
        made += connection.execute(text("select take_along_default_rows()")).scalars()
    while True:
        with engine.begin() as connection:
            name = connection.execute(text("select keep_partitions()")).scalar()
        if name is None:
            return made
        made.append(name)


def newest_revision() -> str:
    """Returns the revision that this code expects."""
    head = ScriptDirectory(str(Path(__file__).parent)).get_current_head()
    assert head is not None  # noqa: S101  # there is at least one migration in the package
    return head
