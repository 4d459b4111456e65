"""The command `sluice endpoints`: a tenant's webhook endpoints, and the deliveries to them."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import click

from app.cli.confirm import confirm_at_terminal, yes_option
from app.cli.options import Moment, limit_option, operator, tenant_option
from app.cli.output import headings, json_option, print_object, print_result, print_rows
from app.cli.stack import open_runtime
from app.core.deliveries.delivery_rules import EVENT_TYPES, TEST_EVENT, DeliveryStatus
from app.services.deliveries import delivery_lists, redelivery, webhook_endpoints
from app.services.deliveries.delivery_lists import DeliveryFilters
from app.services.tenants.tenants import find_owner, find_tenant
from models import tables

_COLUMNS = "id url status disabled_reason event_types created_at"
_DELIVERY_COLUMNS = "id event_id event_type status attempts next_attempt_at ended_at"

_endpoint_argument = click.argument("endpoint_id", metavar="ID", type=click.UUID)
_types_option = click.option(
    "--event-type", "event_types", multiple=True, type=click.Choice(EVENT_TYPES), help="Repeatable; all without it."
)


@click.group("endpoints")
def command() -> None:
    """Make and change a tenant's webhook endpoints, list deliveries to them, deliver once more."""


@command.command("create")
@tenant_option(required=True)
@click.option("--url", required=True, help="Public and https.")
@_types_option
@click.option("--description")
@json_option
def create(tenant: str, url: str, event_types: tuple[str, ...], description: str | None, as_json: bool) -> None:
    """Make an endpoint; its secret is shown this once."""
    with open_runtime() as runtime:
        made = webhook_endpoints.create_endpoint(
            runtime, find_tenant(runtime, tenant), url, list(event_types) or None, description, operator()
        )
    _print(made, as_json=as_json)


@command.command("list")
@tenant_option(required=True)
@limit_option
@json_option
def list_all(tenant: str, limit: int, as_json: bool) -> None:
    """List a tenant's endpoints, newest first."""
    with open_runtime() as runtime:
        rows = webhook_endpoints.list_endpoints(runtime, find_tenant(runtime, tenant), limit, role="clerk")
    print_rows(
        rows if as_json else [_join(row) for row in rows], headings(_COLUMNS), as_json=as_json, empty="No endpoints."
    )


@command.command("show")
@_endpoint_argument
@json_option
def show(endpoint_id: uuid.UUID, as_json: bool) -> None:
    """Show an endpoint."""
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint")
        _print(webhook_endpoints.get_endpoint(runtime, tenant_id, endpoint_id, role="clerk"), as_json=as_json)


@command.command("update")
@_endpoint_argument
@click.option("--url", help="Of another origin: the endpoint gets a new secret.")
@_types_option
@click.option("--all-event-types", is_flag=True, help="Let it get every type.")
@click.option("--description")
@click.option("--enable/--disable", "is_enabled", default=None)
@json_option
def update(
    endpoint_id: uuid.UUID,
    url: str | None,
    event_types: tuple[str, ...],
    all_event_types: bool,
    description: str | None,
    is_enabled: bool | None,
    as_json: bool,
) -> None:
    """Change an endpoint, enable or disable it."""
    changes: dict[str, Any] = {"url": url, "description": description, "event_types": list(event_types) or None}
    changes = {name: value for name, value in changes.items() if value is not None}
    if all_event_types:
        changes["event_types"] = None
    if is_enabled is not None:
        changes["status"] = "enabled" if is_enabled else "disabled"
    if not changes:
        raise click.UsageError("nothing to change: name an option")
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint")
        changed = webhook_endpoints.change_endpoint(runtime, tenant_id, endpoint_id, changes, operator())
    _print(changed, as_json=as_json)


@command.command("delete")
@_endpoint_argument
@yes_option
@json_option
def delete(endpoint_id: uuid.UUID, yes: bool, as_json: bool) -> None:
    """Delete an endpoint; deliveries that wait for it end. Asks for confirmation at a terminal."""
    if not yes:
        effect = f"Endpoint {endpoint_id} gets no further delivery, and its secret is lost. This cannot be undone."
        confirm_at_terminal(effect, "Delete it?")
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint")
        webhook_endpoints.delete_endpoint(runtime, tenant_id, endpoint_id, operator())
    print_result({"id": endpoint_id, "deleted": True}, f"Endpoint {endpoint_id} is deleted.", as_json=as_json)


@command.command("rotate-secret")
@_endpoint_argument
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, 604_800),
    default=86_400,
    show_default=True,
    help="How long the present secrets sign too.",
)
@json_option
def rotate_secret(endpoint_id: uuid.UUID, overlap_seconds: int, as_json: bool) -> None:
    """Give an endpoint a new secret, which is shown this once."""
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint")
        rotated = webhook_endpoints.rotate_secret(runtime, tenant_id, endpoint_id, overlap_seconds, operator())
    _print(rotated, as_json=as_json)


@command.command("test")
@_endpoint_argument
@json_option
def test(endpoint_id: uuid.UUID, as_json: bool) -> None:
    """Deliver `endpoint.test` to an endpoint."""
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint")
        delivery_id = redelivery.send_test(runtime, tenant_id, endpoint_id, operator())
    said = f"Delivery {delivery_id} is due: sluice endpoints deliveries {endpoint_id}"
    print_result({"delivery_id": delivery_id}, said, as_json=as_json)


@command.command("deliveries")
@_endpoint_argument
@click.option("--status", type=click.Choice([*map(str, DeliveryStatus)]))
@click.option("--event-type", type=click.Choice([*EVENT_TYPES, TEST_EVENT]))
@click.option("--after", type=click.IntRange(0), help="Of events with a larger id.")
@limit_option
@json_option
def deliveries(
    endpoint_id: uuid.UUID, status: str | None, event_type: str | None, after: int | None, limit: int, as_json: bool
) -> None:
    """List an endpoint's deliveries, newest first."""
    with open_runtime() as runtime:
        rows = delivery_lists.list_deliveries(
            runtime,
            find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint"),
            endpoint_id,
            DeliveryFilters(status, event_type, after),
            limit,
            shows_answers=True,
            role="clerk",
        )
    shown = rows if as_json else [{**row, "attempts": len(row["attempts"])} for row in rows]
    print_rows(shown, headings(_DELIVERY_COLUMNS), as_json=as_json, empty="No such deliveries.")


@command.command("redeliver")
@_endpoint_argument
@click.option("--delivery", "delivery_id", type=click.UUID, help="This one alone.")
@click.option("--after", type=click.IntRange(0), help="Events with a larger id.")
@click.option("--since", type=Moment(), help="Events since a time: RFC 3339, or a date; UTC without an offset.")
@click.option("--status", type=click.Choice([*map(str, DeliveryStatus)]), help="In this state, such as failed.")
@json_option
def redeliver(
    endpoint_id: uuid.UUID,
    delivery_id: uuid.UUID | None,
    after: int | None,
    since: datetime.datetime | None,
    status: str | None,
    as_json: bool,
) -> None:
    """Deliver once more: one, those of a range, or all that failed; events that never came, too, without --status."""
    named = [given for given in (delivery_id, after, since) if given is not None]
    if len(named) > 1:
        raise click.UsageError("name one of --delivery, --after and --since")
    if not named and status is None:
        raise click.UsageError("name what to deliver: --delivery, --after, --since or --status")
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.webhook_endpoints, endpoint_id, "webhook endpoint")
        if delivery_id is not None:
            redelivery.redeliver_one(runtime, tenant_id, delivery_id, operator())
            count = 1
        else:
            count = 0
            start: datetime.datetime | int | None = since if since is not None else after or 0
            while start is not None:
                done = redelivery.redeliver_range(runtime, tenant_id, endpoint_id, start, status, operator())
                count, start = count + done.deliveries, done.next_after_event_id
    print_result({"deliveries": count}, f"{count} deliveries are due.", as_json=as_json)


def _join(endpoint: dict[str, Any]) -> dict[str, Any]:
    types = endpoint["event_types"]
    return {**endpoint, "event_types": "all" if types is None else ", ".join(types)}


def _print(endpoint: dict[str, Any], *, as_json: bool) -> None:
    labels = headings(f"{_COLUMNS} description" + (" secret" if "secret" in endpoint else ""))
    print_object(endpoint if as_json else _join(endpoint), labels, as_json=as_json)
