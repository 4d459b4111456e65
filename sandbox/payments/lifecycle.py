"""A payment and its changes of state.

Every function here takes the connection of a running transaction and leaves committing to its caller, so that a
change, its money movement and its webhooks are stored together or not at all.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import asdict, replace
from typing import Any

from sandbox.payments import outbox
from sandbox.protocols import registry
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import COLUMNS, MoneyBack, ProviderPayment, from_row
from sandbox.protocols.protocol import Event, ProviderProtocol
from sandbox.scripting import scripts
from sandbox.values import amounts, timestamps
from sandbox.values.refusal import Refusal

PAYABLE = frozenset(("open", "processing", "underpaid"))
# What the payer has approved waits for the merchant's capture.
CAPTURABLE = PAYABLE | {"approved"}
# Money can still arrive after these: the bank was slow, or two people acted at once.
ENDED_UNPAID = frozenset(("declined", "cancelled", "expired"))
_UNDECIDED = frozenset(("open", "approved"))
_DECLINED = "The card was declined."
# 192 random bits: the token authorizes payment, so it must not be guessable.
_TOKEN_BYTES = 24


_FIND = " ".join(("SELECT", COLUMNS, "FROM payments WHERE reference = ?"))


def find(connection: sqlite3.Connection, reference: str) -> ProviderPayment | None:
    """Return the payment with this reference, or None."""
    row = connection.execute(_FIND, (reference,)).fetchone()
    return None if row is None else from_row(row)


def must_find(connection: sqlite3.Connection, reference: str) -> ProviderPayment:
    """Return the payment with this reference. Raise Refusal 404."""
    payment = find(connection, reference)
    if payment is None:
        raise Refusal(404, "not_found", "no such payment")
    return payment


def insert(
    connection: sqlite3.Connection, merchant: str, protocol: ProviderProtocol, order: PaymentOrder
) -> ProviderPayment:
    """Store a new open payment for the merchant."""
    reference = protocol.new_reference()
    connection.execute(
        "INSERT INTO payments (reference, merchant, merchant_reference, protocol, page_token, status, amount_minor,"
        " currency, success_url, failure_url, callback_urls, metadata, request, created_at, updated_at, expires_at)"
        " VALUES (:reference, :merchant, :merchant_reference, :protocol, :page_token, 'open', :amount_minor,"
        " :currency, :success_url, :failure_url, :callback_urls, :metadata, :request, :now, :now, :expires_at)",
        {
            **asdict(order),
            "reference": reference,
            "merchant": merchant,
            "protocol": protocol.name,
            "now": timestamps.now(),
            "page_token": secrets.token_urlsafe(_TOKEN_BYTES),
            "callback_urls": json.dumps(order.callback_urls),
            "metadata": json.dumps(order.metadata),
            "request": json.dumps(order.request),
        },
    )
    scripts.schedule_steps(connection, reference, order.merchant_reference, order.metadata)
    # The sandbox's own payments expire silently.
    if order.expires_at is not None and not protocol.is_native:
        scripts.schedule_step(connection, reference, {"action": "expire"}, timestamps.to_seconds(order.expires_at))
    return must_find(connection, reference)


def set_return(
    connection: sqlite3.Connection, payment: ProviderPayment, success_url: str | None, failure_url: str | None
) -> ProviderPayment:
    """Store where the payer is led back to. Raise Refusal 409 unless the payment is open."""
    _require(payment, frozenset(("open",)))
    connection.execute(
        "UPDATE payments SET success_url = ?, failure_url = ? WHERE reference = ?",
        (success_url, failure_url, payment.reference),
    )
    return replace(payment, success_url=success_url, failure_url=failure_url)


def capture(
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    minor: int | None = None,
    currency: str | None = None,
    *,
    even_if_ended: bool = False,
) -> ProviderPayment:
    """Capture money for the payment: the unpaid rest, or `minor` units of `currency`.

    Less than requested leaves it `underpaid`, which can be paid further; more, or another currency, is `paid`.
    Raise Refusal 409 in a state that takes no money; `even_if_ended` lets late money in.
    """
    _require(payment, CAPTURABLE | ENDED_UNPAID if even_if_ended else CAPTURABLE)
    currency = currency or payment.received_currency or payment.currency
    if payment.received_currency not in (None, currency):
        raise Refusal(409, "other_currency", f"the payment was already paid in part in {payment.received_currency}")
    if minor is None and currency != payment.currency:
        raise Refusal(422, "invalid_field", "amount is needed when the currency is not the asked one")
    minor = payment.remaining_minor if minor is None else minor
    total = payment.received_minor + minor
    if total > amounts.MAX_MINOR:
        raise Refusal(422, "invalid_field", "amount is more than a payment can hold")
    enough = currency != payment.currency or total >= payment.amount_minor
    move(connection, payment, "capture", minor, currency)
    status = "paid" if enough else "underpaid"
    return change(connection, payment, "success", status=status, received_minor=total, received_currency=currency)


def commit(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """Mark the payment as `processing`: the customer chose a slow method whose money arrives or fails days later.

    Such a payment does not expire and cannot be cancelled any more. Raise Refusal 409 unless it is open.
    """
    _require(payment, _UNDECIDED)
    return change(connection, payment, "processing", status="processing")


def approve(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """Let the payer approve the payment, which the merchant then captures.

    Raise Refusal 409 unless the payment is open, and where the provider takes the money at once.
    """
    if not registry.PROTOCOLS[payment.protocol].captures:
        raise Refusal(409, "wrong_state", "this provider takes the money at once: there is nothing to approve")
    _require(payment, frozenset(("open",)))
    return change(connection, payment, "approved", status="approved")


def refuse_capture(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """Let the payer's bank refuse a capture: the payer may approve again. Raise Refusal 409 unless it is approved."""
    _require(payment, frozenset(("approved",)))
    return change(connection, payment, "attempt_failed", status="open", error_message=_DECLINED)


def attempt(connection: sqlite3.Connection, payment: ProviderPayment, message: str | None = None) -> ProviderPayment:
    """Let the payer's attempt be declined; the payer may try again. Raise Refusal 409 unless the payment is open."""
    _require(payment, frozenset(("open",)))
    return change(connection, payment, "attempt_failed", error_message=message or _DECLINED)


def decline(connection: sqlite3.Connection, payment: ProviderPayment, message: str | None = None) -> ProviderPayment:
    """End an open payment, or one under way, as declined. Raise Refusal 409 in any other state.

    Where the provider lets the payer try again, an open payment stays open.
    """
    _require(payment, frozenset(("open", "processing")))
    if payment.status == "open" and not registry.PROTOCOLS[payment.protocol].decline_ends:
        return attempt(connection, payment, message)
    message = message or _DECLINED
    return change(connection, payment, "failed", status="declined", error_message=message)


def cancel(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """End an open payment as cancelled; a cancelled one stays as it is. Raise Refusal 409 in any other state."""
    if payment.status == "cancelled":
        return payment
    if payment.received_minor:
        raise Refusal(409, "already_captured", f"the payment is {payment.status}, money was captured")
    _require(payment, _UNDECIDED)
    return change(connection, payment, "cancelled", status="cancelled")


def expire(connection: sqlite3.Connection, payment: ProviderPayment) -> ProviderPayment:
    """End an open payment because its time ran out. Raise Refusal 409 in any other state."""
    (stored,) = connection.execute("SELECT status FROM payments WHERE reference = ?", (payment.reference,)).fetchone()
    # Once its time is over it is read as expired, although nothing was stored yet.
    _require(replace(payment, status=stored), _UNDECIDED)
    return change(connection, payment, "expired", status="expired")


def _require(payment: ProviderPayment, states: frozenset[str]) -> None:
    if payment.status not in states:
        raise Refusal(409, "wrong_state", f"the payment is {payment.status}")


def move(connection: sqlite3.Connection, payment: ProviderPayment, kind: str, minor: int, currency: str) -> None:
    """Insert one movement of money; their count shows whether a payment was captured twice."""
    connection.execute(
        "INSERT INTO movements (reference, kind, amount_minor, currency, at) VALUES (?, ?, ?, ?, ?)",
        (payment.reference, kind, minor, currency, timestamps.now()),
    )


def change(
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    event: Event | None,
    money_back: MoneyBack | None = None,
    **changes: Any,
) -> ProviderPayment:
    """Store new values of a payment, and the webhooks of the event if there is one; return it as it is now."""
    changed = replace(payment, **changes, updated_at=timestamps.now())
    connection.execute(
        "UPDATE payments SET status = :status, received_minor = :received_minor, refunded_minor = :refunded_minor,"
        " disputed_minor = :disputed_minor, received_currency = :received_currency, error_message = :error_message,"
        " updated_at = :updated_at WHERE reference = :reference",
        asdict(changed),
    )
    if event is not None:
        outbox.announce(connection, changed, event, payment.status, money_back)
    return changed
