"""Take money out of a user's wallet, and give it back once. docs/ARCHITECTURE.md has the walk."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError

from app.core.errors import InvariantBroken, RequestRejected
from app.core.money import AmountError, CurrencyError, format_money, parse_amount
from app.runtime.runtime import Runtime
from app.services.debits.shown import SHOWN, present_debit
from app.services.ledger import debit_posting
from app.services.ledger.debit_posting import DebitTransfer
from app.services.records import audit
from app.services.records.audit import AuditRow
from models import Row, buffer, new_id, prepared, read, tables
from models.array_params import rows_of

_DEBITS = tables.debits
_OF_TENANT = _DEBITS.c.tenant_id == bindparam("tenant_id")
_FIND = prepared(select(*SHOWN).where(_OF_TENANT, _DEBITS.c.id == bindparam("id")))
_FIND_BY_KEY = prepared(
    select(*SHOWN, _DEBITS.c.request_sha256).where(_OF_TENANT, _DEBITS.c.idempotency_key == bindparam("key"))
)
_NEW = rows_of(
    _DEBITS,
    *("id", "tenant_id", "user_id", "currency", "amount_minor", "reference", "description"),
    *("idempotency_key", "request_sha256"),
)
_INSERT = prepared(_NEW.insert())
_REVERSE = prepared(
    update(_DEBITS)
    .where(_OF_TENANT, _DEBITS.c.id == bindparam("debit_id"))
    .values(reversed_at=func.now(), reversal_reason=bindparam("reason"))
)


@dataclass(frozen=True, slots=True)
class DebitRequest:
    """A request for a debit. `request_sha256` is over the request as it was made, to compare repeats.

    `amount` is in units of `currency`; `reason` is an operator's, for the audit.
    """

    user_id: str
    amount: str
    currency: str
    reference: str
    description: str | None
    idempotency_key: str
    request_sha256: bytes
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DebitMade:
    """A debit as callers see it, and whether an earlier request with the same key had made it."""

    debit: dict[str, Any]
    is_replayed: bool


def take(runtime: Runtime, tenant_id: uuid.UUID, wanted: DebitRequest, actor: str) -> DebitMade:
    """Make the debit of an idempotency key, or find the one it made; its money has moved when this returns.

    Raise RequestRejected: 409 where it is more than the wallet has available; 422 for an amount or currency that is
    none, and for another body under the same key.
    """
    try:
        amount_minor = parse_amount(wanted.amount, wanted.currency)
    except (AmountError, CurrencyError) as error:
        field = "amount" if isinstance(error, AmountError) else "currency"
        raise RequestRejected(422, "The request has errors.", [{"field": field, "message": str(error)}]) from None
    try:
        with runtime.database.transaction("clerk", tenant_id, by_keys="few") as connection:
            return _take(connection, tenant_id, wanted, amount_minor, actor)
    except IntegrityError:
        # A parallel request about another wallet has used the key.
        with runtime.database.transaction("clerk", tenant_id, by_keys="few") as connection:
            earlier = _find_earlier(connection, tenant_id, wanted)
        if earlier is None:
            raise
        return earlier


def _take(
    connection: Connection, tenant_id: uuid.UUID, wanted: DebitRequest, amount_minor: int, actor: str
) -> DebitMade:
    wallet, available_minor = debit_posting.lock_wallet(connection, tenant_id, wanted.user_id, wanted.currency)
    # A parallel request with the same key may have been waited for.
    earlier = _find_earlier(connection, tenant_id, wanted)
    if earlier is not None:
        return earlier
    if wallet is None or amount_minor > available_minor:
        available = format_money(available_minor, wanted.currency)
        message = f"The debit cannot be made: the wallet has {available} available."
        raise RequestRejected(409, message, code="insufficient_funds")
    debit_id = new_id()
    row = (debit_id, tenant_id, wanted.user_id, wanted.currency, amount_minor, wanted.reference, wanted.description)
    buffer(connection, _INSERT, _NEW.encode([(*row, wanted.idempotency_key, wanted.request_sha256)]))
    transfer = DebitTransfer(tenant_id, debit_id, "debit", wanted.currency, amount_minor, wanted.description)
    posted = debit_posting.post(connection, wallet, transfer)
    detail = _describe(debit_id, wanted.user_id, wanted.reference, wanted.reason)
    audit.write(connection, [AuditRow(tenant_id, actor, "debit_created", {**detail, **posted})])
    return DebitMade(_read(connection, tenant_id, debit_id), is_replayed=False)


def give_back(
    runtime: Runtime, tenant_id: uuid.UUID, debit_id: uuid.UUID, actor: str, reason: str | None
) -> dict[str, Any]:
    """Give the money of a debit back to its wallet, once; return the debit. Raise RequestRejected: 404, 409."""
    try:
        with runtime.database.transaction("clerk", tenant_id, by_keys="few") as connection:
            found = _find(connection, tenant_id, debit_id)
            wallet, _ = debit_posting.lock_wallet(connection, tenant_id, found.user_id, found.currency)
            if wallet is None:
                raise InvariantBroken("the wallet of a debit is missing", debit_id=str(debit_id))
            # A parallel request may have been waited for.
            if _find(connection, tenant_id, debit_id).reversed_at is not None:
                _refuse_second()
            buffer(connection, _REVERSE, {"tenant_id": tenant_id, "debit_id": debit_id, "reason": reason})
            transfer = DebitTransfer(tenant_id, debit_id, "debit_reversal", found.currency, found.amount_minor)
            posted = debit_posting.post(connection, wallet, transfer)
            detail = _describe(debit_id, found.user_id, found.reference, reason)
            audit.write(connection, [AuditRow(tenant_id, actor, "debit_reversed", {**detail, **posted})])
            return _read(connection, tenant_id, debit_id)
    except IntegrityError:
        _refuse_second()


def _refuse_second() -> NoReturn:
    raise RequestRejected(409, "The debit was reversed before.", code="debit_reversed")


def _describe(debit_id: uuid.UUID, user_id: str, reference: str, reason: str | None) -> dict[str, Any]:
    detail = {"debit_id": str(debit_id), "user_id": user_id, "reference": reference}
    return detail if reason is None else {**detail, "reason": reason}


def _find(connection: Connection, tenant_id: uuid.UUID, debit_id: uuid.UUID) -> Row:
    for row in read(connection, _FIND, {"tenant_id": tenant_id, "id": debit_id}):
        return row
    raise RequestRejected(404, "There is no such debit.")


def _read(connection: Connection, tenant_id: uuid.UUID, debit_id: uuid.UUID) -> dict[str, Any]:
    return present_debit(_find(connection, tenant_id, debit_id))


def _find_earlier(connection: Connection, tenant_id: uuid.UUID, wanted: DebitRequest) -> DebitMade | None:
    for row in read(connection, _FIND_BY_KEY, {"tenant_id": tenant_id, "key": wanted.idempotency_key}):
        if bytes(row.request_sha256) != wanted.request_sha256:
            message = "This Idempotency-Key was used with another body."
            raise RequestRejected(422, message, code="idempotency_key_reused")
        return DebitMade(present_debit(row), is_replayed=True)
    return None
