"""Steps of a script: actions on a payment at a set time."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sandbox.payments import lifecycle
from sandbox.protocols.payment import ProviderPayment
from sandbox.storage.store import Store
from sandbox.values import amounts
from sandbox.values.refusal import Refusal


def run(store: Store, step_id: int) -> None:
    """Run one due step; where the payment's state does not allow it, store the step as refused, with the reason."""
    try:
        with store.writing() as connection:
            row = _due(connection, step_id)
            if row is None:
                return
            _act(connection, lifecycle.must_find(connection, row["reference"]), json.loads(row["step"]))
            _close(connection, step_id, "done", None)
    except Refusal as refusal:
        with store.writing() as connection:
            _close(connection, step_id, "refused", refusal.message)


def _due(connection: sqlite3.Connection, step_id: int) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT reference, step FROM steps WHERE id = ? AND state = 'pending'", (step_id,)
    ).fetchone()
    return row


def _act(connection: sqlite3.Connection, payment: ProviderPayment, step: dict[str, Any]) -> None:
    action = step["action"]
    if action == "commit":
        lifecycle.commit(connection, payment)
    elif action == "decline":
        lifecycle.decline(connection, payment, step.get("message"))
    elif action == "cancel":
        lifecycle.cancel(connection, payment)
    elif action == "refund":
        currency = payment.received_currency or payment.currency
        lifecycle.refund(connection, payment, _minor(step, currency))
    else:
        currency = step.get("currency") or payment.received_currency or payment.currency
        late = bool(step.get("even_if_ended"))
        lifecycle.capture(connection, payment, _minor(step, currency), step.get("currency"), even_if_ended=late)


def _minor(step: dict[str, Any], currency: str) -> int | None:
    return amounts.parse(step["amount"], currency) if "amount" in step else None


def _close(connection: sqlite3.Connection, step_id: int, state: str, outcome: str | None) -> None:
    connection.execute("UPDATE steps SET state = ?, outcome = ? WHERE id = ?", (state, outcome, step_id))
