"""The command `sluice refunds`: ask for refunds, list and show them."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Any

import click
from sqlalchemy import select

from app.cli.confirm import confirm, reason_option, yes_option
from app.cli.options import operator
from app.cli.output import headings, json_option, print_fields, print_json, print_rows
from app.cli.stack import open_runtime
from app.core.money import format_money
from app.runtime.runtime import Runtime
from app.services.payments import refunds
from app.services.payments.refunds import RefundRequest
from app.services.tenants.tenants import find_owner
from models import tables
from models.sql import columns

_PAYMENTS = tables.payment_transactions
_COLUMNS = "id amount currency status provider_reference failure_reason created_at"


@click.group("refunds")
def command() -> None:
    """Ask for refunds, list and show them."""


@command.command("create")
@click.argument("payment_id", metavar="PAYMENT", type=click.UUID)
@click.option("--amount", help="In units of the received currency; all that is left without it.")
@click.option("--reference", help="The provider's reference of an accepted second payment.")
@click.option("--key", help="Idempotency key, for a command that may be repeated.")
@yes_option
@reason_option
@json_option
def create(
    payment_id: uuid.UUID,
    amount: str | None,
    reference: str | None,
    key: str | None,
    yes: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Give money of a payment back to its payer, through the provider; what came and went back is shown before.

    The reason is kept with the refund too.
    """
    asked = f"{payment_id}:{amount}:{reference}:{reason}".encode()
    wanted = RefundRequest(
        payment_id, amount, reference, reason, key or f"cli-{secrets.token_hex(16)}", hashlib.sha256(asked).digest()
    )
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, _PAYMENTS, payment_id, "payment")
        if not yes:
            confirm(_describe(runtime, wanted), "Give it back?")
        made = refunds.ask_refund(runtime, tenant_id, wanted, operator())
    _print(made.refund, as_json=as_json)


@command.command("list")
@click.argument("payment_id", metavar="PAYMENT", type=click.UUID)
@json_option
def list_all(payment_id: uuid.UUID, as_json: bool) -> None:
    """List the refunds of a payment, oldest first."""
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, _PAYMENTS, payment_id, "payment")
        rows = refunds.list_refunds(runtime.database, tenant_id, payment_id, "clerk")
    print_rows(rows, headings(_COLUMNS, currency="", failure_reason="Failure"), as_json=as_json, empty="No refunds.")


@command.command("show")
@click.argument("refund_id", metavar="ID", type=click.UUID)
@json_option
def show(refund_id: uuid.UUID, as_json: bool) -> None:
    """Show a refund."""
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.refunds, refund_id, "refund")
        refund = refunds.get_refund(runtime.database, tenant_id, refund_id, "clerk")
    _print(refund, as_json=as_json)


def _describe(runtime: Runtime, wanted: RefundRequest) -> str:
    """Return what would be given back, and what came and went back so far."""
    shown = columns(_PAYMENTS, "user_id", "received_minor", "received_currency", "reversed_minor")
    with runtime.database.transaction("operator") as connection:
        row = connection.execute(select(*shown).where(_PAYMENTS.c.id == wanted.payment_id)).one()
    amount = "All that is left" if wanted.amount is None else wanted.amount
    if row.received_currency is None:
        return f"{amount} of payment {wanted.payment_id} of {row.user_id}, for which nothing came."
    came, back = (format_money(minor or 0, row.received_currency) for minor in (row.received_minor, row.reversed_minor))
    under = "" if wanted.reference is None else f" under {wanted.reference}"
    return f"{amount} of payment {wanted.payment_id} of {row.user_id}{under}: {came} came, {back} went back so far."


def _print(refund: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(refund)
        return
    labels = headings(f"{_COLUMNS} payment_id reason metadata updated_at", failure_reason="Failure")
    print_fields(refund, labels)
