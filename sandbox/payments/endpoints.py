"""Webhook addresses of accounts: set by the control API, or registered by the merchant's own call."""

from __future__ import annotations

import hashlib
import json
import sqlite3


def store(
    connection: sqlite3.Connection, endpoint_id: str, merchant: str, url: str, secrets: list[str], events: str
) -> None:
    """Create or update an address; of several secrets the first is the newest, and all of them sign."""
    connection.execute(
        "INSERT INTO endpoints (id, merchant, url, secrets, events) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET url = excluded.url, secrets = excluded.secrets, events = excluded.events",
        (endpoint_id, merchant, url, json.dumps(secrets), events),
    )


def own_id(merchant: str) -> str:
    """Return the id of the one address that the control API sets for an account."""
    return hashlib.sha256(merchant.encode()).hexdigest()[:24]


def listed(connection: sqlite3.Connection, merchant: str) -> list[sqlite3.Row]:
    """Return an account's addresses, oldest first."""
    wanted = "SELECT id, merchant, url, secrets, events FROM endpoints WHERE merchant = ? ORDER BY rowid"
    return connection.execute(wanted, (merchant,)).fetchall()
