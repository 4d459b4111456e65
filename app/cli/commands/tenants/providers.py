"""The command `sluice providers`: configure providers and rotate their webhook secrets."""

from __future__ import annotations

import uuid
from typing import IO

import click

from app.cli import provider_accounts, provider_rotation
from app.cli.confirm import confirm_at_terminal, reason_option, yes_option
from app.cli.credentials import CredentialSource, read_credentials, read_secret
from app.cli.options import AdapterName, WebAddress, operator, tenant_option
from app.cli.output import headings, json_option, print_object, print_result, print_rows
from app.cli.stack import open_runtime
from app.core.signatures import HMAC_HEX, SCHEMES, STANDARD
from app.providers import poke_urls
from app.providers.connectable import SignsWithCredential
from app.providers.credentials import API_KEY
from app.runtime.runtime import Runtime
from app.services.access.callback_urls import write_poke_url
from app.services.tenants import provider_changes, providers
from app.services.tenants.provider_changes import ATTEMPTS_MAX, CALLS_MAX, ProviderChanges
from app.services.tenants.providers import NewProvider
from app.services.tenants.tenants import find_tenant

_CREATED = ("id", "name", "webhook_url", "payment_webhook_urls", "webhook_secret", "poke_url")
_COLUMNS = headings(
    "id tenant_id name mode adapter webhook_scheme api_base_url is_default currencies active_secrets disabled_at",
    webhook_scheme="Scheme",
    api_base_url="URL",
    is_default="Default",
    active_secrets="Secrets",
)


@click.group("providers", short_help="Create, list, change, disable and enable providers.")
def command() -> None:
    """Create, list, change, disable and enable providers, and rotate their webhook secrets."""


@command.command("create")
@tenant_option(required=True)
@click.argument("name")
@click.option("--adapter", type=AdapterName(), required=True, help="The kind of provider; see `sluice adapters list`.")
@click.option("--url", type=WebAddress(), help="Base URL of its API, https unless on this machine; else its adapter's.")
@click.option(
    "--credential",
    "sources",
    type=CredentialSource(),
    multiple=True,
    help="File with one of our credentials at the provider, - for stdin; repeatable. Without it"
    " SLUICE_PROVIDER_<NAME>, or else a hidden prompt.",
)
@click.option("--api-key-file", type=click.File(), help="Short for --credential api_key=FILE.")
@click.option(
    "--webhook-secret-file", type=click.File(), help="File with a webhook secret that the provider gave; - for stdin."
)
@click.option(
    "--scheme", type=click.Choice(SCHEMES), default=STANDARD, show_default=True, help="How it signs webhooks."
)
@click.option("--signature-header", help=f"With {HMAC_HEX}: the header that carries the signature.")
@click.option("--id-field", help=f"With {HMAC_HEX}: the body's field that is unique per webhook.")
@click.option("--allow-ip", "networks", multiple=True, help="Address or network that webhooks come from; repeatable.")
@click.option(
    "--currency", "currencies", multiple=True, help="A currency it takes; repeatable; all of its adapter without it."
)
@click.option("--default", "is_default", is_flag=True, help="Deposits that name no provider go here.")
@json_option
def create(
    tenant: str,
    name: str,
    adapter: str,
    url: str | None,
    sources: tuple[tuple[str, str | None], ...],
    api_key_file: IO[str] | None,
    webhook_secret_file: IO[str] | None,
    scheme: str,
    signature_header: str | None,
    id_field: str | None,
    networks: tuple[str, ...],
    currencies: tuple[str, ...],
    is_default: bool,
    as_json: bool,
) -> None:
    """Create the provider NAME for a tenant and print its webhook secret, only this time.

    A tenant's first provider becomes its default. Our credentials at the provider are never arguments: other users of
    the machine can read those.
    """
    with open_runtime() as runtime:
        tenant_id = find_tenant(runtime, tenant)
        found = providers.find_adapter(runtime, adapter)
        poke_token = poke_urls.new_token() if found.poke_types else None
        new = NewProvider(
            tenant_id,
            name,
            adapter,
            url,
            read_credentials(found.credentials, sources, api_key_file, asks_rest=True),
            read_secret(webhook_secret_file, "--webhook-secret-file") if webhook_secret_file else None,
            networks,
            currencies,
            is_default,
            webhook_scheme=scheme,
            signature_header=signature_header,
            id_field=id_field,
            poke_token=poke_token,
        )
        provider_id, secret = providers.create_provider(runtime, new, operator())
        row = {
            "id": provider_id,
            "tenant_id": tenant_id,
            "name": name,
            **_describe_webhooks(runtime, provider_id, adapter),
        }
    row["webhook_secret"] = secret or None
    if poke_token is not None:
        row["poke_url"] = write_poke_url(runtime, provider_id, poke_token)
    labels = headings(
        " ".join(name for name in _CREATED if name in row),
        webhook_url="Webhook URL",
        poke_url="URL for unsigned notifications",
        payment_webhook_urls="Or, in Sluice's form",
    )
    print_object(row, labels, as_json=as_json)
    if secret:
        click.echo("Give the provider the URL and the secret: the secret is not shown again.", err=True)
    elif isinstance(found, SignsWithCredential):
        click.echo(f"Give the provider the URL. It signs webhooks with the {found.secret_credential}.", err=True)
    else:
        said = f"The provider makes the secret: `sluice providers connect {provider_id}`, or `secrets add` with it."
        click.echo(said, err=True)


def _describe_webhooks(runtime: Runtime, provider_id: uuid.UUID, adapter: str) -> dict[str, object]:
    base = f"{runtime.settings.public_url}/webhooks"
    own: dict[str, object] = {"webhook_url": f"{base}/{provider_id}"}
    if adapter not in providers.COMMON_FORM:
        return own
    names = ("payment-success", "payment-failed", "payment-callback")
    return own | {"payment_webhook_urls": [f"{base}/{name}" for name in names]}


@command.command("list")
@tenant_option()
@json_option
def list_all(tenant: str | None, as_json: bool) -> None:
    """List providers, oldest first, without their secrets."""
    with open_runtime() as runtime:
        rows = providers.list_providers(runtime, find_tenant(runtime, tenant) if tenant else None)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="No providers yet.")


@command.command("update")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@click.option("--name", help="Another name.")
@click.option("--url", type=WebAddress(), help="Another base URL of its API.")
@click.option(
    "--credential",
    "sources",
    type=CredentialSource(),
    multiple=True,
    help="File with a new credential, - for stdin, NAME alone for a prompt; repeatable. Or set SLUICE_PROVIDER_<NAME>.",
)
@click.option("--api-key-file", type=click.File(), help="Short for --credential api_key=FILE.")
@click.option("--api-key", "asks_key", is_flag=True, help="Short for --credential api_key: asks for it.")
@click.option("--allow-ip", "networks", multiple=True, help="The only addresses webhooks come from; repeatable.")
@click.option("--allow-any-ip", is_flag=True, help="Webhooks may come from any address.")
@click.option("--currency", "currencies", multiple=True, help="The only currencies it takes; repeatable.")
@click.option("--all-currencies", is_flag=True, help="It takes every currency of its adapter.")
@click.option("--calls", type=click.IntRange(1, CALLS_MAX), help="Maximum of concurrent calls.")
@click.option("--attempts", type=click.IntRange(1, ATTEMPTS_MAX), help="Failed calls before a dead letter.")
@click.option("--default", "is_default", is_flag=True, help="Deposits that name no provider go here.")
@click.option(
    "--client-selectable/--not-client-selectable", default=None, help="Whether deposits of browsers may name it."
)
@json_option
def update(
    provider_id: uuid.UUID,
    name: str | None,
    url: str | None,
    sources: tuple[tuple[str, str | None], ...],
    api_key_file: IO[str] | None,
    asks_key: bool,
    networks: tuple[str, ...],
    allow_any_ip: bool,
    currencies: tuple[str, ...],
    all_currencies: bool,
    calls: int | None,
    attempts: int | None,
    is_default: bool,
    client_selectable: bool | None,
    as_json: bool,
) -> None:
    """Change a provider from its next call on; options not given keep their value.

    Credentials that are not named stay. After the provider refused our key or configuration, change it here, then
    redrive the dead letters of kind provider_call.
    """
    if asks_key:
        sources = (*sources, (API_KEY, None))
    with open_runtime() as runtime:
        declared = provider_changes.find_credentials(runtime, provider_id)
        changes = ProviderChanges(
            name,
            url,
            read_credentials(declared, sources, api_key_file, asks_rest=False),
            _replaced(networks, allow_any_ip, "--allow-ip and --allow-any-ip"),
            _replaced(currencies, all_currencies, "--currency and --all-currencies"),
            calls,
            attempts,
            is_default,
            client_selectable,
        )
        if changes == ProviderChanges():
            raise click.UsageError("name what is to change, such as --url or --api-key (or set SLUICE_PROVIDER_...)")
        changed = provider_changes.update_provider(runtime, provider_id, changes, operator())
        (row,) = [row for row in providers.list_providers(runtime, None) if row["id"] == provider_id]
    more = headings(
        "ip_allowlist calls_max attempts_max client_selectable",
        ip_allowlist="Addresses",
        calls_max="Calls",
        attempts_max="Attempts",
        client_selectable="Browsers may name it",
    )
    print_object(row | {"changed": changed}, {"changed": "Changed", **_COLUMNS, **more}, as_json=as_json)


def _replaced(values: tuple[str, ...], is_cleared: bool, names: str) -> tuple[str, ...] | None:
    """Return the new list, an empty one where it is cleared, None where it stays."""
    if values and is_cleared:
        raise click.UsageError(f"{names} contradict each other")
    return values if values or is_cleared else None


@command.command("disable")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@yes_option
@reason_option
@json_option
def disable(provider_id: uuid.UUID, yes: bool, reason: str | None, as_json: bool) -> None:
    """Stop new deposits with a provider; open payments are still completed, and its webhooks still accepted.

    Asks for confirmation at a terminal.
    """
    if not yes:
        effect = f"Provider {provider_id} takes no new deposits until it is enabled again."
        confirm_at_terminal(effect, "Disable it?")
    with open_runtime() as runtime:
        if not providers.disable_provider(runtime, provider_id, operator(), reason):
            raise click.ClickException(f"there is no provider {provider_id} that could be disabled")
    print_result(
        {"id": provider_id, "disabled": True}, f"Provider {provider_id} takes no new deposits.", as_json=as_json
    )


@command.command("enable")
@click.argument("provider_id", metavar="ID", type=click.UUID)
@json_option
def enable(provider_id: uuid.UUID, as_json: bool) -> None:
    """Let a disabled provider take new deposits again."""
    with open_runtime() as runtime:
        if not provider_changes.enable_provider(runtime, provider_id, operator()):
            raise click.ClickException(f"there is no provider {provider_id} that could be enabled")
    print_result({"id": provider_id, "enabled": True}, f"Provider {provider_id} takes deposits again.", as_json=as_json)


for _one in (
    *(provider_accounts.check, provider_accounts.connect, provider_accounts.secrets),
    *(provider_rotation.rotate, provider_rotation.rotate_poke_url),
):
    command.add_command(_one)
