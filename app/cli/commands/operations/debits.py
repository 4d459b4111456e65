"""The command `sluice debits`: take money out of users' wallets, give it back, list and show debits."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import uuid
from typing import Any

import click

from app.cli.confirm import confirm, reason_option, yes_option
from app.cli.options import Moment, limit_option, operator, tenant_option
from app.cli.output import headings, json_option, print_fields, print_json, print_rows
from app.cli.stack import open_runtime
from app.core.money import AmountError, CurrencyError, parse_amount
from app.runtime.runtime import Runtime
from app.services.access.callers import USER_ID
from app.services.debits import shown, spending
from app.services.debits.shown import DebitFilters
from app.services.debits.spending import DebitRequest
from app.services.ledger.wallets import read_wallets
from app.services.tenants.tenants import find_owner, find_tenant
from models import tables

_COLUMNS = "id user_id amount currency reference status created_at"
_REFERENCE_LENGTH_MAX = 255


class _Line(click.ParamType[str]):
    """One line of printable text, as the API takes it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value or len(value) > _REFERENCE_LENGTH_MAX or not value.isprintable():
            self.fail(f"must be one line of 1 to {_REFERENCE_LENGTH_MAX} printable characters", param, ctx)
        return str(value)


@click.group("debits")
def command() -> None:
    """Take money out of users' wallets, give it back, list and show debits."""


@command.command("create")
@click.argument("user_id", metavar="USER")
@tenant_option(required=True)
@click.option("--amount", required=True, help="In units of the currency, such as 10.00.")
@click.option("--currency", required=True, help="Upper-case ISO 4217.")
@click.option("--reference", type=_Line(), required=True, help="The tenant's own name for it, such as an order.")
@click.option("--description", type=_Line(), help="What the user reads with the entry.")
@click.option("--key", help="Idempotency key, for a command that may be repeated.")
@yes_option
@reason_option
@json_option
def create(
    user_id: str,
    tenant: str,
    amount: str,
    currency: str,
    reference: str,
    description: str | None,
    key: str | None,
    yes: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Take money out of a user's wallet; what the wallet has available is shown before."""
    if not USER_ID.fullmatch(user_id):
        raise click.BadParameter("must be 1-128 of [A-Za-z0-9_.:@-]", param_hint="USER")
    try:
        parse_amount(amount, currency)
    except (AmountError, CurrencyError) as error:
        option = "--amount" if isinstance(error, AmountError) else "--currency"
        raise click.BadParameter(str(error), param_hint=option) from None
    asked = json.dumps([user_id, amount, currency, reference, description]).encode()
    wanted = DebitRequest(
        user_id=user_id,
        amount=amount,
        currency=currency,
        reference=reference,
        description=description,
        idempotency_key=key or f"cli-{secrets.token_hex(16)}",
        request_sha256=hashlib.sha256(asked).digest(),
        reason=reason,
    )
    with open_runtime() as runtime:
        tenant_id = find_tenant(runtime, tenant)
        if not yes:
            available = _read_available(runtime, tenant_id, user_id, currency)
            effect = f"Takes {amount} {currency} of the {available} {currency} that {user_id}'s wallet has available."
            confirm(effect, "Take it?")
        made = spending.take(runtime, tenant_id, wanted, operator())
    _print(made.debit, as_json=as_json)


@command.command("reverse")
@click.argument("debit_id", metavar="ID", type=click.UUID)
@yes_option
@reason_option
@json_option
def reverse(debit_id: uuid.UUID, yes: bool, reason: str | None, as_json: bool) -> None:
    """Give the money of a debit back to its wallet, once."""
    with open_runtime() as runtime:
        tenant_id = find_owner(runtime, tables.debits, debit_id, "debit")
        debit = shown.get_debit(runtime.database, tenant_id, debit_id, "clerk")
        if debit["status"] == "completed" and not yes:
            confirm(f"Gives {debit['amount']} {debit['currency']} back to {debit['user_id']}'s wallet.", "Reverse it?")
        debit = spending.give_back(runtime, tenant_id, debit_id, operator(), reason)
    _print(debit, as_json=as_json)


@command.command("list")
@tenant_option(required=True)
@click.option("--user", "user_id", help="The tenant's id of its user.")
@click.option("--currency", help="In this currency.")
@click.option("--reference", help="With this reference.")
@click.option("--created-after", type=Moment(), help="RFC 3339, or a date; UTC without an offset.")
@click.option("--created-before", type=Moment())
@limit_option
@json_option
def list_all(
    tenant: str,
    user_id: str | None,
    currency: str | None,
    reference: str | None,
    created_after: datetime.datetime | None,
    created_before: datetime.datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List a tenant's debits, newest first."""
    filters = DebitFilters(user_id, currency, reference, created_after, created_before)
    with open_runtime() as runtime:
        rows = shown.list_debits(runtime.database, find_tenant(runtime, tenant), filters, limit, "clerk")
    print_rows(rows, headings(_COLUMNS, currency=""), as_json=as_json, empty="No such debits.")


@command.command("show")
@click.argument("debit_id", metavar="ID", type=click.UUID)
@json_option
def show(debit_id: uuid.UUID, as_json: bool) -> None:
    """Show a debit."""
    with open_runtime() as runtime:
        debit = shown.get_debit(
            runtime.database, find_owner(runtime, tables.debits, debit_id, "debit"), debit_id, "clerk"
        )
    _print(debit, as_json=as_json)


def _read_available(runtime: Runtime, tenant_id: uuid.UUID, user_id: str, currency: str) -> str:
    wallets = read_wallets(runtime.database, tenant_id, user_id)
    return next((str(one["available"]) for one in wallets if one["currency"] == currency), "0")


def _print(debit: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(debit)
        return
    labels = headings(f"{_COLUMNS} description reversed_at reversal_reason balance", balance="Balance after it")
    print_fields({**debit, "balance": debit["entry"]["balance_after"]}, labels)
