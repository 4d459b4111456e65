"""`sluice secrets`."""

from __future__ import annotations

import click

from app.cli.options import operator
from app.cli.output import json_option, print_json
from app.cli.stack import open_runtime
from app.services.rotation import rotate_encryption
from app.vault import new_encryption_key


@click.group("secrets")
def command() -> None:
    """Makes and changes the keys that provider secrets are encrypted with."""


@command.command("new-key")
@json_option
def new_key(as_json: bool) -> None:
    """Prints a new key for SLUICE_ENCRYPTION_KEYS."""
    key = new_encryption_key()
    if as_json:
        print_json({"key": key})
    else:
        click.echo(key)


@command.command("rotate-key")
@json_option
def rotate_key(as_json: bool) -> None:
    """Re-encrypts every stored secret with the first key of SLUICE_ENCRYPTION_KEYS.

    Put the new key first and restart every process, run this, then take the old key away and restart once more.
    """
    with open_runtime() as runtime:
        secrets = rotate_encryption(runtime, operator())
    if as_json:
        print_json({"secrets": secrets})
    else:
        click.echo(f"{secrets} secrets are encrypted with the first key; no other key is needed any more.")
