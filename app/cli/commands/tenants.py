"""`sluice tenants`."""

from __future__ import annotations

import click

from app.cli.options import WebAddress, operator
from app.cli.output import json_option, print_object, print_rows
from app.cli.stack import open_runtime
from app.services import tenants
from app.services.tenants import NewTenant


@click.group("tenants")
def command() -> None:
    """Makes and lists tenants."""


@command.command("create")
@click.argument("name")
@click.option("--origin", "origins", multiple=True, help="An allowed origin, https://shop.example; repeatable.")
@click.option("--success-url", type=WebAddress(), help="Where users return to if a deposit names no URL.")
@click.option("--failure-url", type=WebAddress(), help="The same after a failure.")
@click.option("--requests-per-second", type=click.IntRange(1, 1_000_000), help="Limit of API requests; none without.")
@click.option("--amount-minor-max", type=click.IntRange(1, 10**15), help="Largest deposit in minor units.")
@json_option
def create(
    name: str,
    origins: tuple[str, ...],
    success_url: str | None,
    failure_url: str | None,
    requests_per_second: int | None,
    amount_minor_max: int | None,
    as_json: bool,
) -> None:
    """Makes a tenant; it needs a key and a provider before it can take deposits."""
    new = NewTenant(name, origins, success_url, failure_url, requests_per_second, amount_minor_max)
    with open_runtime() as runtime:
        tenant_id = tenants.create_tenant(runtime, new, operator())
    print_object({"id": tenant_id, "name": name}, {"id": "Id", "name": "Name"}, as_json=as_json)


@command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """Lists all tenants, oldest first."""
    with open_runtime() as runtime:
        rows = tenants.list_tenants(runtime)
    columns = {
        "name": "Name",
        "id": "Id",
        "default_provider_id": "Default provider",
        "allowed_origins": "Origins",
        "requests_per_second": "Requests/s",
        "late_policy": "Late money",
        "created_at": "Created",
    }
    print_rows(rows, columns, as_json=as_json, empty="No tenants yet.")
