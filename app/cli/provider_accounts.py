"""The commands of `sluice providers` about an account there: `check`, `connect` and `secrets`."""

from __future__ import annotations

import sys
import uuid
from dataclasses import asdict
from typing import IO

import click

from app.cli.credentials import read_secret
from app.cli.options import AdapterName, operator, tenant_option
from app.cli.output import headings, json_option, print_json, print_object, print_result, print_rows, printable
from app.cli.stack import open_runtime
from app.services.tenants import provider_accounts, webhook_secrets
from app.services.tenants.tenants import find_tenant

_SECRETS = headings("id created_at ends_at is_active", is_active="Valid")


@click.command("check")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@json_option
def check(provider_id: uuid.UUID, as_json: bool) -> None:
    """Examine a provider's account: credentials, clock, webhook address, currencies, webhook secret.

    One line for each: ok, FAIL or skipped, and why. Exits with 1 if one is FAIL. Makes one call that changes nothing.
    """
    with open_runtime() as runtime:
        checks = list(provider_accounts.check_provider(runtime, provider_id))
    is_fine = all(one.state != "FAIL" for one in checks)
    if as_json:
        print_json({"id": provider_id, "ok": is_fine, "data": [asdict(one) for one in checks]})
    else:
        for one in checks:
            click.echo(f"{one.state:<8}{one.check}: {printable(one.detail)}")
    sys.exit(0 if is_fine else 1)


@click.command("connect")
@click.argument("provider_id", metavar="[ID]", type=click.UUID, required=False)
@click.option("--adapter", type=AdapterName(), help="In place of the ID: the only provider of this kind.")
@tenant_option()
@json_option
def connect(provider_id: uuid.UUID | None, adapter: str | None, tenant: str | None, as_json: bool) -> None:
    """Register our webhook URL at the provider, and store the secret that it signs with.

    Says what is left to do by hand. Repeating it makes no second registration where the provider knows repeated calls.
    """
    if (provider_id is None) == (adapter is None):
        raise click.UsageError("name the provider by its ID, or by --adapter")
    if provider_id is not None and tenant is not None:
        raise click.UsageError("--tenant belongs to --adapter: an ID is one tenant's")
    with open_runtime() as runtime:
        if adapter is not None:
            tenant_id = find_tenant(runtime, tenant) if tenant else None
            provider_id = provider_accounts.find_provider(runtime, tenant_id, adapter)
        assert provider_id is not None  # noqa: S101  # one of the two is given
        done = provider_accounts.connect_provider(runtime, provider_id, operator())
    labels = headings("id webhook_url is_secret_stored remaining", webhook_url="Webhook URL", remaining="Left to do")
    print_object({"id": provider_id, **done}, labels, as_json=as_json)


@click.group("secrets")
def secrets() -> None:
    """Add, list and end permanent webhook secrets: one for each address that is registered at the provider."""


@secrets.command("add")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@click.option(
    "--webhook-secret-file", type=click.File(), required=True, help="File with the provider's secret; - for stdin."
)
@json_option
def add(provider_id: uuid.UUID, webhook_secret_file: IO[str], as_json: bool) -> None:
    """Let webhooks be signed with one more secret; the others stay valid."""
    secret = read_secret(webhook_secret_file, "--webhook-secret-file")
    with open_runtime() as runtime:
        secret_id = webhook_secrets.add_secret(runtime, provider_id, secret, operator())
    row = {"id": provider_id, "secret_id": secret_id}
    print_result(row, f"Webhooks of {provider_id} may be signed with the secret {secret_id}.", as_json=as_json)


@secrets.command("list")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@json_option
def list_all(provider_id: uuid.UUID, as_json: bool) -> None:
    """List a provider's webhook secrets, oldest first, without what they say."""
    with open_runtime() as runtime:
        rows = webhook_secrets.list_secrets(runtime, provider_id)
    print_rows(rows, _SECRETS, as_json=as_json)


@secrets.command("end")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@click.argument("secret_id", metavar="SECRET_ID", type=click.UUID)
@json_option
def end(provider_id: uuid.UUID, secret_id: uuid.UUID, as_json: bool) -> None:
    """Let a webhook secret be valid no longer; the only valid one stays."""
    with open_runtime() as runtime:
        webhook_secrets.end_secret(runtime, provider_id, secret_id, operator())
    row = {"id": provider_id, "secret_id": secret_id, "ended": True}
    print_result(row, f"The secret {secret_id} is valid no longer.", as_json=as_json)
