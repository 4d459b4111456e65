"""The command `sluice up`: start everything on this machine."""

from __future__ import annotations

import sys

import click

from app.runtime.settings import Settings


@click.command("up", short_help="Start everything on this machine.")
def command() -> None:
    """Start everything on this machine and stay in the foreground."""
    from app.local.up import up

    sys.exit(up(Settings.from_environment()))
