"""What happens to a payment outside the merchant's calls, by the words of scripts and of the control API."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.payments import lifecycle, reversals
from sandbox.protocols.payment import ProviderPayment
from sandbox.values import amounts

_Action = Callable[[sqlite3.Connection, ProviderPayment, Mapping[str, Any]], ProviderPayment]


def act(
    connection: sqlite3.Connection, payment: ProviderPayment, action: str, words: Mapping[str, Any]
) -> ProviderPayment:
    """Apply one action with its words, checked before. Raise Refusal where the payment's state forbids it."""
    return _ACTIONS[action](connection, payment, words)


def _minor(words: Mapping[str, Any], currency: str) -> int | None:
    return amounts.parse(words["amount"], currency) if "amount" in words else None


def _received_minor(payment: ProviderPayment, words: Mapping[str, Any]) -> int | None:
    return _minor(words, payment.received_currency or payment.currency)


def _pay(connection: sqlite3.Connection, payment: ProviderPayment, words: Mapping[str, Any]) -> ProviderPayment:
    currency = words.get("currency") or payment.received_currency or payment.currency
    late = bool(words.get("even_if_ended"))
    return lifecycle.capture(connection, payment, _minor(words, currency), words.get("currency"), even_if_ended=late)


_ACTIONS: dict[str, _Action] = {
    "pay": _pay,
    "approve": lambda connection, payment, words: lifecycle.approve(connection, payment),
    "commit": lambda connection, payment, words: lifecycle.commit(connection, payment),
    "attempt": lambda connection, payment, words: lifecycle.attempt(connection, payment, words.get("message")),
    "decline": lambda connection, payment, words: lifecycle.decline(connection, payment, words.get("message")),
    "cancel": lambda connection, payment, words: lifecycle.cancel(connection, payment),
    "expire": lambda connection, payment, words: lifecycle.expire(connection, payment),
    "refund": lambda connection, payment, words: reversals.refund(connection, payment, _received_minor(payment, words))[
        0
    ],
    "settle_refund": lambda connection, payment, words: reversals.settle_refund(connection, payment),
    "fail_refund": lambda connection, payment, words: reversals.fail_refund(connection, payment),
    "dispute": lambda connection, payment, words: reversals.dispute(
        connection, payment, _received_minor(payment, words), words.get("message")
    ),
    "win_dispute": lambda connection, payment, words: reversals.close_dispute(connection, payment, won=True),
    "lose_dispute": lambda connection, payment, words: reversals.close_dispute(connection, payment, won=False),
}
