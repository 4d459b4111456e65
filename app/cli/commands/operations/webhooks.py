"""The command `sluice webhooks`: list, show and replay webhooks."""

from __future__ import annotations

import base64
import contextlib
import uuid

import click

from app.cli.confirm import confirm, dry_run_option, reason_option, yes_option
from app.cli.options import limit_option, operator, tenant_option
from app.cli.output import headings, json_option, print_fields, print_json, print_result, print_rows, printable
from app.cli.stack import open_runtime
from app.services.operators import queries, redrive
from app.services.operators.queries import ListFilters
from app.services.tenants.tenants import find_tenant

_STORED = headings(
    "id provider_id external_id path payment_id status verdict reason received_at", external_id="Webhook id"
)
_REFUSED = headings("at provider_id reason remote_address body_bytes", remote_address="From", body_bytes="Bytes kept")


@click.group("webhooks")
def command() -> None:
    """List and show webhooks, and replay them."""


@command.command("list")
@tenant_option()
@click.option("--payment", "payment_id", type=click.UUID, help="Of one payment.")
@click.option("--provider", "provider_id", type=click.UUID, help="Of one provider.")
@click.option("--status", type=click.Choice(["pending", "processed", "failed"]))
@click.option("--refused", is_flag=True, help="Refused deliveries; only the newest are kept.")
@limit_option
@json_option
def list_all(
    tenant: str | None,
    payment_id: uuid.UUID | None,
    provider_id: uuid.UUID | None,
    status: str | None,
    refused: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List webhooks, newest first."""
    if refused and (payment_id or status):
        raise click.UsageError("a refused webhook has no status and belongs to no payment")
    with open_runtime() as runtime:
        tenant_id = find_tenant(runtime, tenant) if tenant else None
        wanted = ListFilters(limit, tenant_id, payment_id=payment_id, provider_id=provider_id, status=status)
        rows = (queries.list_refusals if refused else queries.list_webhooks)(runtime, wanted)
    print_rows(rows, _REFUSED if refused else _STORED, as_json=as_json, empty="No such webhooks.")


@command.command("show")
@click.argument("webhook_id", metavar="ID", type=click.UUID)
@json_option
def show(webhook_id: uuid.UUID, as_json: bool) -> None:
    """Show a webhook with its headers and its bytes, exactly as it was sent.

    In JSON the bytes are `body` (null unless UTF-8) and `body_base64`.
    """
    with open_runtime() as runtime:
        webhook = queries.show_webhook(runtime, webhook_id)
    body: bytes = webhook.pop("body")
    in_base64, text = base64.b64encode(body).decode("ascii"), None
    with contextlib.suppress(UnicodeDecodeError):
        text = body.decode("utf-8")
    if as_json:
        print_json({**webhook, "body": text, "body_base64": in_base64})
        return
    labels = _STORED | headings(
        "conflicts_with duplicates remote_address settled_at body_sha256",
        duplicates="Repeated",
        remote_address="From",
        body_sha256="SHA-256",
    )
    print_fields(webhook, labels)
    click.echo("\nHeaders")
    print_fields(webhook["headers"], {name: f"  {printable(name)}" for name in webhook["headers"]})
    click.echo(f"\nBody ({webhook['body_bytes']} bytes)")
    click.echo(in_base64 if text is None else printable(text))


@command.command("replay")
@click.argument("webhook_id", metavar="ID", type=click.UUID)
@dry_run_option
@yes_option
@reason_option
@json_option
def replay(webhook_id: uuid.UUID, dry_run: bool, yes: bool, reason: str | None, as_json: bool) -> None:
    """Settle a webhook once more, whatever its status; its money is still credited only once.

    Where that moves money, the effect is shown and confirmation is asked for.
    """
    with open_runtime() as runtime:
        tenant_id = queries.show_webhook(runtime, webhook_id)["tenant_id"]
        preview = redrive.preview_webhook(runtime, tenant_id, webhook_id)
        if preview.moves_money and not dry_run and not yes:
            confirm(f"At this moment: {preview.effect}", "Replay it?")
        effect = preview.effect
        if not dry_run:
            effect = redrive.replay_webhook(runtime, tenant_id, webhook_id, operator(), reason)
    sentence = f"{'Would be due' if dry_run else 'Due'} again; at this moment: {printable(effect)}"
    print_result({"id": webhook_id, "dry_run": dry_run, "effect": effect}, sentence, as_json=as_json)
