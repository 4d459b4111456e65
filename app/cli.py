"""The `sluice` command."""

from __future__ import annotations

import sys

import click

from app.settings import Settings, SettingsError


@click.group()
def main() -> None:
    """Sluice: deposits in, wallets credited exactly once, browsers told live."""


@main.command()
def up() -> None:
    """Starts everything on this machine and stays in the foreground."""
    from app.bootstrap import prepare
    from app.up import up as run

    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(run(settings, prepare))
