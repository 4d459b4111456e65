"""The command `sluice tenants`: create, list and change tenants and their policies."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from app.cli.options import Duration, WebAddress, operator
from app.cli.output import headings, json_option, print_object, print_rows
from app.cli.stack import open_runtime
from app.services.tenants import policies, tenant_changes, tenants
from app.services.tenants.tenant_changes import CLEAR, TenantChanges
from app.services.tenants.tenants import REQUESTS_PER_SECOND_DEFAULT, NewTenant
from models.tables.access import MODES

_LABELS = headings(
    "name allowed_origins default_success_url default_failure_url default_provider_id requests_per_second"
    " amount_minor_max",
    allowed_origins="Origins",
    default_success_url="Return after success",
    default_failure_url="Return after failure",
    requests_per_second="Requests/s",
    amount_minor_max="Largest deposit (minor units)",
)


@click.group("tenants")
def command() -> None:
    """Create, list and change tenants, and set their policy."""


@command.command("create")
@click.argument("name")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="test",
    show_default=True,
    help="For real money live; cannot be changed later. The sandbox and test credentials are for test tenants.",
)
@click.option("--origin", "origins", multiple=True, help="An allowed origin, https://shop.example; repeatable.")
@click.option("--success-url", type=WebAddress(), help="Return URL of users if a deposit names none.")
@click.option("--failure-url", type=WebAddress(), help="The same after a failure.")
@click.option(
    "--requests-per-second",
    type=click.IntRange(1, 1_000_000),
    default=REQUESTS_PER_SECOND_DEFAULT,
    show_default=True,
    help="Limit of API requests. One user may use a tenth of it.",
)
@click.option("--unlimited", is_flag=True, help="No limit of API requests.")
@click.option("--amount-minor-max", type=click.IntRange(1, 10**15), help="Largest deposit in minor units.")
@json_option
def create(
    name: str,
    mode: str,
    origins: tuple[str, ...],
    success_url: str | None,
    failure_url: str | None,
    requests_per_second: int,
    unlimited: bool,
    amount_minor_max: int | None,
    as_json: bool,
) -> None:
    """Create a tenant; it needs a key and a provider before it can take deposits."""
    limit = None if unlimited else requests_per_second
    new = NewTenant(name, origins, success_url, failure_url, limit, amount_minor_max, mode=mode)
    with open_runtime() as runtime:
        tenant_id = tenants.create_tenant(runtime, new, operator())
    row = {"id": tenant_id, "name": name, "mode": mode}
    print_object(row, headings("id name mode"), as_json=as_json)


@command.command("update")
@click.argument("tenant", metavar="NAME")
@click.option("--name", help="Another name.")
@click.option("--origin", "origins", multiple=True, help="The only allowed origins, https://shop.example; repeatable.")
@click.option("--no-origins", is_flag=True, help="No origin is allowed.")
@click.option("--success-url", type=WebAddress(), help="Return URL of users if a deposit names none.")
@click.option("--no-success-url", is_flag=True, help="Users return nowhere unless a deposit names a URL.")
@click.option("--failure-url", type=WebAddress(), help="The same after a failure.")
@click.option("--no-failure-url", is_flag=True, help="The same after a failure.")
@click.option("--default-provider", metavar="PROVIDER", help="Deposits that name no provider go there; name or id.")
@click.option("--requests-per-second", type=click.IntRange(0, 1_000_000), help="Limit of API requests; 0 for none.")
@click.option("--amount-minor-max", type=click.IntRange(0, 10**15), help="Largest deposit in minor units; 0 for any.")
@json_option
def update(
    tenant: str,
    name: str | None,
    origins: tuple[str, ...],
    no_origins: bool,
    success_url: str | None,
    no_success_url: bool,
    failure_url: str | None,
    no_failure_url: bool,
    default_provider: str | None,
    requests_per_second: int | None,
    amount_minor_max: int | None,
    as_json: bool,
) -> None:
    """Change the tenant NAME (or id); options not given keep their value. Takes effect within a second.

    The policy for late or other amounts is set by `sluice tenants policy`.
    """
    if (origins and no_origins) or (success_url and no_success_url) or (failure_url and no_failure_url):
        raise click.UsageError("an option and its --no- form contradict each other")
    changes = TenantChanges(
        name,
        origins if origins or no_origins else None,
        CLEAR if no_success_url else success_url,
        CLEAR if no_failure_url else failure_url,
        CLEAR if requests_per_second == 0 else requests_per_second,
        CLEAR if amount_minor_max == 0 else amount_minor_max,
        default_provider,
    )
    if changes == TenantChanges():
        raise click.UsageError("name what is to change, such as --origin or --default-provider")
    with open_runtime() as runtime:
        row = tenant_changes.update_tenant(runtime, tenants.find_tenant(runtime, tenant), changes, operator())
    print_object(row, {"changed": "Changed", "id": "Id", **_LABELS}, as_json=as_json)


@command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List all tenants, oldest first."""
    with open_runtime() as runtime:
        rows = tenants.list_tenants(runtime)
    columns = headings(
        "name id mode default_provider_id allowed_origins requests_per_second late_policy created_at",
        allowed_origins="Origins",
        requests_per_second="Requests/s",
        late_policy="Late money",
    )
    print_rows(rows, columns, as_json=as_json, empty="No tenants yet.")


@command.command("policy")
@click.argument("tenant", metavar="NAME")
@click.option("--tolerance", "tolerance_percent", metavar="PERCENT", help="Credit other amounts within this tolerance.")
@click.option(
    "--late",
    "late_policy",
    type=click.Choice(["credit", "hold", "reject", "refund"]),
    help="Money for an ended payment; refund: it goes back to the payer.",
)
@click.option(
    "--over",
    "over_policy",
    type=click.Choice(["credit", "hold", "reject", "refund"]),
    help="More than requested; refund: what was asked for is credited, and the excess goes back to the payer.",
)
@click.option(
    "--negative",
    "negative_policy",
    type=click.Choice(["allow", "hold"]),
    help="Our refunds above the balance.",
)
@click.option("--payment-seconds", type=Duration(30 * 86_400), help="Time to pay, such as 30m.")
@click.option("--monitoring-seconds", type=Duration(365 * 86_400), help="How long after that the provider is polled.")
@click.option(
    "--id-fields",
    metavar="NAMES",
    help="Fields whose values are ids even if they have the form of card numbers: metadata keys, user_id,"
    " Idempotency-Key; divided by commas. An empty text names none.",
)
@json_option
def policy(tenant: str, as_json: bool, **changes: Any) -> None:
    """Show a tenant's policy for exceptions, or change it for all later decisions."""
    given = {name: value for name, value in changes.items() if value is not None}
    if "tolerance_percent" in given:
        try:
            given["tolerance_percent"] = Decimal(given["tolerance_percent"])
        except InvalidOperation:
            raise click.UsageError("--tolerance is a percentage such as 0.5") from None
    if "id_fields" in given:
        names = (name.strip() for name in given["id_fields"].split(","))
        given["id_fields"] = sorted({name for name in names if name})
    with open_runtime() as runtime:
        found = policies.change_policy(runtime, tenants.find_tenant(runtime, tenant), given, operator())
    print_object(found, policies.COLUMNS, as_json=as_json)
