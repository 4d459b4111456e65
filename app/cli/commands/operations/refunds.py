"""The command `sluice refunds`: ask for refunds, list and show them."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Any

import click
from sqlalchemy import Table, select

from app.cli.options import operator
from app.cli.output import headings, json_option, print_fields, print_json, print_rows
from app.cli.stack import open_runtime
from app.core.errors import RequestRejected
from app.runtime.runtime import Runtime
from app.services.payments import refunds
from app.services.payments.refunds import RefundRequest
from models import tables

_PAYMENTS = tables.payment_transactions
_COLUMNS = "id amount currency status provider_reference failure_reason created_at"


@click.group("refunds")
def command() -> None:
    """Ask for refunds, list and show them."""


@command.command("create")
@click.argument("payment_id", metavar="PAYMENT", type=click.UUID)
@click.option("--amount", help="In units of the received currency; all that is left without it.")
@click.option("--reference", help="The provider's reference of an accepted second payment.")
@click.option("--reason", help="Kept with the refund.")
@click.option("--key", help="Idempotency key, for a command that may be repeated.")
@json_option
def create(
    payment_id: uuid.UUID,
    amount: str | None,
    reference: str | None,
    reason: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Give money of a payment back to its payer, through the provider."""
    asked = f"{payment_id}:{amount}:{reference}:{reason}".encode()
    wanted = RefundRequest(
        payment_id, amount, reference, reason, key or f"cli-{secrets.token_hex(16)}", hashlib.sha256(asked).digest()
    )
    with open_runtime() as runtime:
        made = refunds.ask_refund(runtime, _find_tenant(runtime, _PAYMENTS, payment_id), wanted, operator())
    _print(made.refund, as_json=as_json)


@command.command("list")
@click.argument("payment_id", metavar="PAYMENT", type=click.UUID)
@json_option
def list_all(payment_id: uuid.UUID, as_json: bool) -> None:
    """List the refunds of a payment, oldest first."""
    with open_runtime() as runtime:
        tenant_id = _find_tenant(runtime, _PAYMENTS, payment_id)
        rows = refunds.list_refunds(runtime.database, tenant_id, payment_id, "clerk")
    print_rows(rows, headings(_COLUMNS, currency="", failure_reason="Failure"), as_json=as_json, empty="No refunds.")


@command.command("show")
@click.argument("refund_id", metavar="ID", type=click.UUID)
@json_option
def show(refund_id: uuid.UUID, as_json: bool) -> None:
    """Show a refund."""
    with open_runtime() as runtime:
        tenant_id = _find_tenant(runtime, tables.refunds, refund_id)
        refund = refunds.get_refund(runtime.database, tenant_id, refund_id, "clerk")
    _print(refund, as_json=as_json)


def _find_tenant(runtime: Runtime, table: Table, id_: uuid.UUID) -> uuid.UUID:
    """Return the tenant of the row. Raise RequestRejected (404)."""
    with runtime.database.transaction("operator") as connection:
        tenant_id: uuid.UUID | None = connection.execute(select(table.c.tenant_id).where(table.c.id == id_)).scalar()
    if tenant_id is None:
        raise RequestRejected(404, "There is no such object.")
    return tenant_id


def _print(refund: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(refund)
        return
    labels = headings(f"{_COLUMNS} payment_id reason metadata updated_at", failure_reason="Failure")
    print_fields(refund, labels)
