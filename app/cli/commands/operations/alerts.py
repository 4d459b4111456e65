"""The command `sluice alerts`: list alarms."""

from __future__ import annotations

import click

from app.cli.options import limit_option, tenant_option
from app.cli.output import headings, json_option, print_rows
from app.cli.stack import open_runtime
from app.services.operators import queries
from app.services.operators.queries import ListFilters
from app.services.records.alerts import KINDS
from app.services.tenants.tenants import find_tenant


@click.group("alerts")
def command() -> None:
    """Show alarms."""


@command.command("list")
@tenant_option()
@click.option("--kind", type=click.Choice(sorted(KINDS)), metavar="KIND", help="Of one kind.")
@click.option("--open", "is_open", is_flag=True, help="Only those whose reason lasts.")
@limit_option
@json_option
def list_all(tenant: str | None, kind: str | None, is_open: bool, limit: int, as_json: bool) -> None:
    """List alarms, newest first: whether what raised each is still so, and since when and by what it is not."""
    with open_runtime() as runtime:
        tenant_id = find_tenant(runtime, tenant) if tenant else None
        rows = queries.list_alerts(runtime, ListFilters(limit, tenant_id, kind=kind, is_open=is_open))
    columns = headings("at state severity kind message detail resolved_at resolved_by")
    print_rows(rows, columns, as_json=as_json, empty="No alarms are open." if is_open else "No alarms.")
