"""The command `sluice payments`: list, show and explain payments."""

from __future__ import annotations

import datetime
import uuid

import click

from app.cli.explain import explain
from app.cli.options import Moment, limit_option, tenant_option
from app.cli.output import headings, json_option, print_fields, print_json, print_rows
from app.cli.stack import open_runtime
from app.cli.timeline import print_timeline
from app.core.payment import Status
from app.services.operators import queries
from app.services.operators.queries import ListFilters
from app.services.tenants.tenants import find_tenant


@click.group("payments")
def command() -> None:
    """List, show and explain payments."""


command.add_command(explain)


@command.command("list")
@tenant_option()
@click.option("--user", "user_id", help="The tenant's id of its user.")
@click.option("--status", type=click.Choice([str(status) for status in Status]))
@click.option("--created-after", type=Moment(), help="RFC 3339, or a date; UTC without an offset.")
@click.option("--created-before", type=Moment())
@limit_option
@json_option
def list_all(
    tenant: str | None,
    user_id: str | None,
    status: str | None,
    created_after: datetime.datetime | None,
    created_before: datetime.datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List payments, newest first."""
    with open_runtime() as runtime:
        tenant_id = find_tenant(runtime, tenant) if tenant else None
        wanted = ListFilters(limit, tenant_id, user_id, status=status, after=created_after, before=created_before)
        rows = queries.list_payments(runtime, wanted)
    columns = headings(
        "id user_id amount currency status exception failure_reason created_at", currency="", failure_reason="Failure"
    )
    print_rows(rows, columns, as_json=as_json, empty="No such payments.")


@command.command("show")
@click.argument("payment_id", metavar="ID", type=click.UUID)
@json_option
def show(payment_id: uuid.UUID, as_json: bool) -> None:
    """Show a payment and its timeline."""
    with open_runtime() as runtime:
        story = queries.show_payment(runtime, payment_id)
    if as_json:
        print_json(story)
        return
    labels = headings(
        "id tenant_id user_id amount currency status exception failure_reason received_amount provider_id"
        " provider_reference redirect_url metadata created_at expires_at completed_at",
        failure_reason="Failure",
        received_amount="Received",
        provider_reference="Reference",
        redirect_url="Pay page",
    )
    print_fields(story["payment"], labels)
    click.echo()
    print_timeline(story["timeline"])
