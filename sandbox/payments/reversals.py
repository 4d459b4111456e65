"""Money that goes back, by refund or by dispute, and money of these that comes again.

As in `lifecycle`, every function works in its caller's transaction.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import replace
from typing import Any

from sandbox.payments import lifecycle
from sandbox.protocols import registry
from sandbox.protocols.payment import MONEY_BACK_COLUMNS, MoneyBack, ProviderPayment, money_back_from_row
from sandbox.protocols.protocol import Event
from sandbox.values import timestamps
from sandbox.values.refusal import Refusal

# 48 random bits: protocols make ids of them, some of them whole numbers that JSON carries exactly.
_TOKEN_BYTES = 6

_BY = {
    column: " ".join(("SELECT", MONEY_BACK_COLUMNS, f"FROM money_back WHERE {column} = ? ORDER BY seq"))
    for column in ("reference", "token")
}
_ALL = " ".join(
    (
        *("SELECT", ", ".join(f"m.{name.strip()}" for name in MONEY_BACK_COLUMNS.split(","))),
        "FROM money_back m JOIN payments p ON p.reference = m.reference WHERE p.merchant = :merchant",
        "AND m.kind = :kind AND (:reference IS NULL OR m.reference = :reference) ORDER BY m.seq DESC LIMIT 250",
    )
)


def listed(connection: sqlite3.Connection, reference: str, kind: str) -> list[MoneyBack]:
    """Return the refunds or disputes of a payment, oldest first."""
    return [back for back in listed_of(connection, reference) if back.kind == kind]


def listed_of(connection: sqlite3.Connection, reference: str) -> list[MoneyBack]:
    """Return all refunds and disputes of a payment, oldest first."""
    return [money_back_from_row(row) for row in connection.execute(_BY["reference"], (reference,)).fetchall()]


def listed_for(connection: sqlite3.Connection, merchant: str, kind: str, reference: str | None) -> list[MoneyBack]:
    """Return a merchant's refunds or disputes, newest first, of one payment or of all."""
    rows = connection.execute(_ALL, {"merchant": merchant, "kind": kind, "reference": reference}).fetchall()
    return [money_back_from_row(row) for row in rows]


def find(connection: sqlite3.Connection, token: str) -> MoneyBack | None:
    """Return the refund or dispute with this token, or None."""
    row = connection.execute(_BY["token"], (token,)).fetchone()
    return None if row is None else money_back_from_row(row)


def refund(
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    minor: int | None = None,
    request: dict[str, Any] | None = None,
    *,
    pending: bool = False,
) -> tuple[ProviderPayment, MoneyBack]:
    """Refund all that is left, or `minor` units of the received currency; a pending refund is not announced yet.

    Raise Refusal 409 when nothing is left, 422 when `minor` is more than that, unless the provider says so later.
    """
    try:
        minor = _available(payment, minor)
    except Refusal:
        if not registry.PROTOCOLS[payment.protocol].refuses_refunds_later or minor is None:
            raise
        back = _insert(connection, payment, "refund", "failed", minor, request or {})
        return lifecycle.change(connection, payment, "refund_refused", back), back
    back = _insert(connection, payment, "refund", "pending" if pending else "done", minor, request or {})
    lifecycle.move(connection, payment, "refund", minor, back.currency)
    refunded = payment.refunded_minor + minor
    if pending:
        return lifecycle.change(connection, payment, None, refunded_minor=refunded), back
    return lifecycle.change(connection, payment, "refunded", back, refunded_minor=refunded), back


def settle_refund(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """Complete the oldest pending refund. Raise Refusal 409 where there is none."""
    back = _one(connection, payment, "refund", ("pending",), 0)
    return lifecycle.change(connection, payment, "refunded", _store(connection, back, "done"))


def fail_refund(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """Let the newest refund fail, also one that was complete: its money is back. Raise Refusal 409 without one."""
    back = _one(connection, payment, "refund", ("pending", "done"), -1)
    is_refused = back.status == "pending" and registry.PROTOCOLS[payment.protocol].refuses_refunds_later
    refunded = payment.refunded_minor - back.amount_minor
    failed = _store(connection, back, "failed")
    event: Event = "refund_refused" if is_refused else "refund_failed"
    return lifecycle.change(connection, payment, event, failed, refunded_minor=refunded)


def dispute(
    connection: sqlite3.Connection, payment: ProviderPayment, minor: int | None = None, reason: str | None = None
) -> ProviderPayment:
    """Let the payer dispute the payment: the money, or `minor` units of it, is withdrawn. Raise Refusal 409 or 422."""
    minor = _disputable(payment, minor)
    back = _insert(connection, payment, "dispute", "open", minor, {"reason": reason or "fraudulent"})
    return lifecycle.change(connection, payment, "disputed", back, disputed_minor=payment.disputed_minor + minor)


def close_dispute(connection: sqlite3.Connection, payment: ProviderPayment, *, won: bool) -> ProviderPayment:
    """Close the open dispute; a won one brings its money back. Raise Refusal 409 without an open one."""
    back = _one(connection, payment, "dispute", ("open",), 0)
    closed = _store(connection, back, "won" if won else "lost")
    event: Event = "dispute_won" if won else "dispute_lost"
    left = payment.disputed_minor - (back.amount_minor if won else 0)
    return lifecycle.change(connection, payment, event, closed, disputed_minor=left)


def _available(payment: ProviderPayment, minor: int | None) -> int:
    left = payment.received_minor - payment.reversed_minor
    if left <= 0 or payment.received_currency is None:
        raise Refusal(409, "wrong_state", f"the payment is {payment.status} and holds no money to refund")
    if minor is not None and minor > left:
        raise Refusal(422, "refund_too_large", "amount is more than is left to refund", "amount")
    return left if minor is None else minor


def _disputable(payment: ProviderPayment, minor: int | None) -> int:
    if not registry.PROTOCOLS[payment.protocol].chargeback_is_whole:
        return _available(payment, minor)
    if payment.received_minor == 0 or payment.disputed_minor:
        raise Refusal(409, "wrong_state", f"the payment is {payment.status} and holds no money to charge back")
    if minor not in (None, payment.received_minor):
        raise Refusal(422, "invalid_amount", "a chargeback is of all that came")
    return payment.received_minor


def _one(
    connection: sqlite3.Connection, payment: ProviderPayment, kind: str, states: tuple[str, ...], index: int
) -> MoneyBack:
    found = [back for back in listed(connection, payment.reference, kind) if back.status in states]
    if not found:
        raise Refusal(409, "wrong_state", f"the payment has no {kind} that is {' or '.join(states)}")
    return found[index]


def _insert(
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    kind: str,
    status: str,
    minor: int,
    request: dict[str, Any],
) -> MoneyBack:
    token, now = secrets.token_hex(_TOKEN_BYTES), timestamps.now()
    currency = payment.received_currency or payment.currency
    cursor = connection.execute(
        "INSERT INTO money_back (token, reference, kind, status, amount_minor, currency, request, created_at,"
        " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (token, payment.reference, kind, status, minor, currency, json.dumps(request), now, now),
    )
    seq = cursor.lastrowid or 0
    return MoneyBack(seq, token, payment.reference, kind, status, minor, currency, request, now, now)


def _store(connection: sqlite3.Connection, back: MoneyBack, status: str) -> MoneyBack:
    changed = replace(back, status=status, updated_at=timestamps.now())
    connection.execute(
        "UPDATE money_back SET status = ?, updated_at = ? WHERE seq = ?", (status, changed.updated_at, back.seq)
    )
    return changed
