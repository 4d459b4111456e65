"""The command `sluice routes`: providers for deposits in a currency, in order."""

from __future__ import annotations

import uuid

import click

from app.cli.options import operator, tenant_option
from app.cli.output import headings, json_option, print_rows
from app.cli.stack import open_runtime
from app.services.tenants import provider_routes
from app.services.tenants.tenants import find_tenant

_COLUMNS = headings("currency position provider_id name", provider_id="Provider")


@click.group("routes", short_help="Order a tenant's providers for each currency.")
def command() -> None:
    """Order a tenant's providers for each currency.

    A deposit that names no provider goes to the first one that is not paused. It moves to the next one where its
    create call was surely not sent, and never once a provider may have it.
    """


@command.command("set")
@tenant_option(required=True)
@click.argument("currency")
@click.argument("providers", metavar="PROVIDER_ID...", nargs=-1, required=True, type=click.UUID)
@json_option
def set_(tenant: str, currency: str, providers: tuple[uuid.UUID, ...], as_json: bool) -> None:
    """Send deposits in CURRENCY to these providers, in this order."""
    _change(tenant, currency, providers, as_json)


@command.command("clear")
@tenant_option(required=True)
@click.argument("currency")
@json_option
def clear(tenant: str, currency: str, as_json: bool) -> None:
    """Send deposits in CURRENCY to the default provider again."""
    _change(tenant, currency, (), as_json)


def _change(tenant: str, currency: str, providers: tuple[uuid.UUID, ...], as_json: bool) -> None:
    with open_runtime() as runtime:
        tenant_id = find_tenant(runtime, tenant)
        provider_routes.set_route(runtime, tenant_id, currency.upper(), providers, operator())
        rows = provider_routes.list_routes(runtime, tenant_id)
    _print(rows, as_json)


@command.command("list")
@tenant_option(required=True)
@json_option
def list_all(tenant: str, as_json: bool) -> None:
    """List the tenant's routes."""
    with open_runtime() as runtime:
        rows = provider_routes.list_routes(runtime, find_tenant(runtime, tenant))
    _print(rows, as_json)


def _print(rows: list[dict[str, object]], as_json: bool) -> None:
    print_rows(rows, _COLUMNS, as_json=as_json, empty="No routes: deposits go to the default provider.")
