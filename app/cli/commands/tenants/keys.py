"""The command `sluice keys`: create, revoke and list secret keys."""

from __future__ import annotations

import datetime
import uuid

import click

from app.cli.confirm import confirm_at_terminal, reason_option, yes_option
from app.cli.options import End, operator, tenant_option
from app.cli.output import headings, json_option, print_object, print_result, print_rows
from app.cli.stack import open_runtime
from app.services.tenants import tenants
from models.tables.access import ROLES


@click.group("keys")
def command() -> None:
    """Create, revoke and list secret keys."""


@command.command("create")
@tenant_option(required=True)
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="admin",
    show_default=True,
    help="What the key may do. Use `shop` for a backend: deposits, client tokens and reads, no decision about held"
    " money. `operator` also accepts, rejects and redrives; `read` only reads; `admin` may do everything.",
)
@click.option("--label", default="", help="Its purpose, up to 200 characters.")
@click.option(
    "--expires", type=End(), help="Expiry: 90d, 2027-01-31 or 2027-01-31T12:00:00Z; without it the key never expires."
)
@json_option
def create(tenant: str, role: str, label: str, expires: datetime.datetime | None, as_json: bool) -> None:
    """Create a secret key and print it, only this time."""
    if len(label) > 200:
        raise click.BadParameter("has more than 200 characters", param_hint="--label")
    with open_runtime() as runtime:
        tenant_id = tenants.find_tenant(runtime, tenant)
        key_id, plain = tenants.create_key(runtime, tenant_id, role, label, operator(), expires)
    row = {
        "id": key_id,
        "tenant_id": tenant_id,
        "role": role,
        "label": label,
        "expires_at": expires,
        "secret_key": plain,
    }
    labels = headings("id role label expires_at secret_key")
    print_object(row, labels, as_json=as_json)
    click.echo("The secret key is stored hashed: it is not shown again.", err=True)


@command.command("revoke")
@click.argument("key_id", metavar="ID", type=click.UUID)
@yes_option
@reason_option
@json_option
def revoke(key_id: uuid.UUID, yes: bool, reason: str | None, as_json: bool) -> None:
    """Revoke a key and every token made with it. Asks for confirmation at a terminal."""
    if not yes:
        effect = f"Key {key_id} and every token made with it are refused within a second. This cannot be undone."
        confirm_at_terminal(effect, "Revoke it?")
    with open_runtime() as runtime:
        if not tenants.revoke_key(runtime, key_id, operator(), reason):
            raise click.ClickException(f"there is no key {key_id} that could be revoked")
    print_result({"id": key_id, "revoked": True}, f"Key {key_id} is revoked.", as_json=as_json)


@command.command("list")
@tenant_option()
@json_option
def list_all(tenant: str | None, as_json: bool) -> None:
    """List keys, oldest first, without their secrets."""
    with open_runtime() as runtime:
        rows = tenants.list_keys(runtime, tenants.find_tenant(runtime, tenant) if tenant else None)
    columns = headings("id tenant_id key role label created_at expires_at last_used_at revoked_at")
    print_rows(rows, columns, as_json=as_json, empty="No keys yet.")
