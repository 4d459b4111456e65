"""The commands of `sluice providers` that replace a webhook secret or a secret URL."""

from __future__ import annotations

import uuid
from typing import IO

import click

from app.cli.credentials import read_secret
from app.cli.options import Duration, operator
from app.cli.output import json_option, print_object
from app.cli.stack import open_runtime
from app.services.access.callback_urls import write_poke_url
from app.services.tenants import poke_tokens, webhook_secrets

OVERLAP_SECONDS_MAX = 365 * 86_400  # A longer overlap would mean that the secret was not rotated.


@click.command("rotate-secret")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@click.option(
    "--overlap",
    type=Duration(OVERLAP_SECONDS_MAX),
    default="24h",
    show_default=True,
    help="How long old secrets remain valid.",
)
@click.option(
    "--webhook-secret-file", type=click.File(), help="File with the secret or whpk_ key that the provider gave."
)
@json_option
def rotate(provider_id: uuid.UUID, overlap: int, webhook_secret_file: IO[str] | None, as_json: bool) -> None:
    """Add a webhook secret, by default a new one, and print it, only this time; old ones stay valid for the overlap."""
    given = read_secret(webhook_secret_file, "--webhook-secret-file") if webhook_secret_file else None
    with open_runtime() as runtime:
        secret = webhook_secrets.rotate_secret(runtime, provider_id, overlap, operator(), given)
    row = {"id": provider_id, "overlap_seconds": overlap, "webhook_secret": secret}
    labels = {"id": "Id", "overlap_seconds": "Old ones valid (s)", "webhook_secret": "Webhook secret"}
    print_object(row, labels, as_json=as_json)
    click.echo("Give the provider the new secret: it is not shown again.", err=True)


@click.command("rotate-poke-url")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@click.option(
    "--overlap",
    type=Duration(OVERLAP_SECONDS_MAX),
    default="180d",
    show_default=True,
    help="How long old URLs remain valid: payments keep theirs, and refunds are reported there months later.",
)
@json_option
def rotate_poke_url(provider_id: uuid.UUID, overlap: int, as_json: bool) -> None:
    """Make a new URL for notifications that nobody signs, and print it, only this time.

    New payments name it to the provider by themselves. Old URLs stay valid for the overlap.
    """
    with open_runtime() as runtime:
        token = poke_tokens.rotate_token(runtime, provider_id, overlap, operator())
        url = write_poke_url(runtime, provider_id, token)
    row = {"id": provider_id, "overlap_seconds": overlap, "poke_url": url}
    labels = {"id": "Id", "overlap_seconds": "Old ones valid (s)", "poke_url": "URL for unsigned notifications"}
    print_object(row, labels, as_json=as_json)
    click.echo("The URL is a secret, and it is not shown again.", err=True)
