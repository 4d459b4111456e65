"""The command `sluice migrate`: bring the database to the newest revision."""

from __future__ import annotations

import click

from app.cli.output import json_option, print_result
from app.cli.stack import find_settings
from app.services.tenants.installation import read_revision
from models.migrations import newest_revision, upgrade


@click.command("migrate", short_help="Bring the database to the newest revision.")
@json_option
def command(as_json: bool) -> None:
    """Bring the database to the newest revision, with DATABASE_OWNER_URL, and create missing partitions.

    The login of each DATABASE_<TYPE>_URL that is set becomes a member of that process type's roles; one that is missing
    is created. Repeating it changes nothing.
    """
    settings = find_settings()
    owner_url = settings.required("owner_database_url")
    before = read_revision(owner_url)
    upgrade(owner_url, settings.default_database_url, settings.login_urls)
    after = read_revision(owner_url)
    change = "is at" if before == after else f"went from {before or 'nothing'} to"
    document = {"before": before, "revision": after, "newest": newest_revision()}
    print_result(document, f"The database {change} revision {after}, the newest.", as_json=as_json)
