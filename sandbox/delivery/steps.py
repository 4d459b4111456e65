"""Steps of a script: actions on a payment at a set time."""

from __future__ import annotations

import json
import sqlite3

from sandbox.payments import actions, lifecycle
from sandbox.storage.store import Store
from sandbox.values.refusal import Refusal


def run(store: Store, step_id: int) -> None:
    """Run one due step; where the payment's state does not allow it, store the step as refused, with the reason."""
    try:
        with store.writing() as connection:
            row = _due(connection, step_id)
            if row is None:
                return
            step = json.loads(row["step"])
            actions.act(connection, lifecycle.must_find(connection, row["reference"]), step["action"], step)
            _close(connection, step_id, "done", None)
    except Refusal as refusal:
        with store.writing() as connection:
            _close(connection, step_id, "refused", refusal.message)


def _due(connection: sqlite3.Connection, step_id: int) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT reference, step FROM steps WHERE id = ? AND state = 'pending'", (step_id,)
    ).fetchone()
    return row


def _close(connection: sqlite3.Connection, step_id: int, state: str, outcome: str | None) -> None:
    connection.execute("UPDATE steps SET state = ?, outcome = ? WHERE id = ?", (state, outcome, step_id))
