"""The command `sluice secrets`: create and rotate the keys that encrypt stored secrets."""

from __future__ import annotations

import click

from app.cli.options import operator
from app.cli.output import json_option, print_result
from app.cli.stack import open_runtime
from app.runtime.vault import VaultError, new_encryption_key
from app.services.tenants import process_keys
from app.services.tenants.key_rotation import rotate_encryption


@click.group("secrets")
def command() -> None:
    """Create and rotate the keys that encrypt provider secrets."""


@command.command("new-key")
@json_option
def new_key(as_json: bool) -> None:
    """Print a new key for SLUICE_ENCRYPTION_KEYS."""
    key = new_encryption_key()
    print_result({"key": key}, key, as_json=as_json)


@command.command("rotate-key")
@click.option("--anyway", is_flag=True, help="Even if a running process lacks the first key.")
@json_option
def rotate_key(anyway: bool, as_json: bool) -> None:
    """Re-encrypt every stored secret with the first key of SLUICE_ENCRYPTION_KEYS.

    First put the new key before the old one and restart every process. If a running process lacks the new key, which
    could not read any secret afterwards, its name is printed and nothing is changed. Secrets that no key decrypts are
    listed, and all others re-encrypted. Once none are listed, remove the old key, but keep it with earlier backups.
    """
    with open_runtime() as runtime:
        if not anyway and (lacking := process_keys.find_lacking(runtime)):
            raise click.ClickException(
                f"nothing was done: {', '.join(lacking)} ran within the last {process_keys.LIVE_SECONDS} seconds"
                " without the first key: restart with it, or use --anyway"
            )
        try:
            secrets = rotate_encryption(runtime, operator())
        except VaultError as error:
            raise click.ClickException(f"{error}; keep every key") from None
    sentences = (
        f"{secrets} secrets are encrypted with the first key.\n"
        "The other keys may be removed from every process; keep them with earlier backups."
    )
    print_result({"secrets": secrets}, sentences, as_json=as_json)
