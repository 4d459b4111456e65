"""Alembic migrations, run with the owner's login."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url

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
    """Brings the database to the newest revision; does nothing where it is there already."""
    command.upgrade(configuration(owner_url, app_url), "head")


def newest_revision() -> str:
    """Returns the revision that this code expects."""
    head = ScriptDirectory(str(Path(__file__).parent)).get_current_head()
    assert head is not None  # noqa: S101  # there is at least one migration in the package
    return head
