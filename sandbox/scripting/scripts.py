"""Stored scripts: which one applies to which payment, and how often it was used."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.scripting import vocabulary

# What happens at its time by itself is a step too.
_NO_SCRIPT = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One section of one script, chosen for one payment."""

    script_id: int
    section: dict[str, Any]


def store(connection: sqlite3.Connection, script: dict[str, Any]) -> dict[str, Any]:
    """Store a checked script and return it as the API shows it, with its id.

    Its `auto` steps start for payments that exist already; for later ones they start when the payment is created.
    """
    match = script["match"]
    metadata = match.get("metadata")
    cursor = connection.execute(
        "INSERT INTO scripts (body, match_reference, match_metadata, next_left) VALUES (?, ?, ?, ?)",
        (
            json.dumps(script),
            match.get("merchant_reference"),
            None if metadata is None else json.dumps(metadata),
            match.get("next"),
        ),
    )
    script_id = cursor.lastrowid or 0
    if "auto" in script and "merchant_reference" in match:
        existing = connection.execute(
            "SELECT reference FROM payments WHERE merchant_reference = ?", (match["merchant_reference"],)
        ).fetchall()
        for (reference,) in existing:
            _schedule(connection, script_id, script, reference)
    return _shown(connection, script_id, script, match.get("next"))


def listed(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return all stored scripts, oldest first."""
    rows = connection.execute("SELECT id, body, next_left FROM scripts ORDER BY id").fetchall()
    return [_shown(connection, row["id"], json.loads(row["body"]), row["next_left"]) for row in rows]


def clear(connection: sqlite3.Connection) -> int:
    """Remove every script and its pending steps, and make the webhooks due that scripts held back."""
    connection.execute("DELETE FROM steps WHERE state = 'pending' AND script_id != ?", (_NO_SCRIPT,))
    connection.execute("UPDATE deliveries SET state = 'pending', due_at = ? WHERE state = 'held'", (time.time(),))
    return connection.execute("DELETE FROM scripts").rowcount


def bind_next(connection: sqlite3.Connection, merchant_reference: str) -> None:
    """Bind this new payment to each script that matches the `next` payments."""
    waiting = connection.execute("SELECT id FROM scripts WHERE next_left > 0").fetchall()
    for (script_id,) in waiting:
        connection.execute(
            "INSERT OR IGNORE INTO script_bindings (script_id, merchant_reference) VALUES (?, ?)",
            (script_id, merchant_reference),
        )
        connection.execute("UPDATE scripts SET next_left = next_left - 1 WHERE id = ?", (script_id,))


def take(
    connection: sqlite3.Connection,
    section: str,
    merchant_reference: str,
    metadata: Mapping[str, str],
    applies: Callable[[dict[str, Any]], bool] = lambda section: True,
    *,
    counts: bool = True,
) -> Plan | None:
    """Return the newest script with this section that applies to the payment, and count the use.

    A script no longer applies to a payment after its section's, or else its own, number of `times`.
    """
    for script_id, script in _matching(connection, section, merchant_reference, metadata):
        content = script[section]
        uses = _uses(connection, script_id, merchant_reference, section)
        if applies(content) and uses < content.get("times", script.get("times", uses + 1)):
            if counts:
                connection.execute(
                    "INSERT INTO script_uses (script_id, merchant_reference, section, uses) VALUES (?, ?, ?, 1)"
                    " ON CONFLICT DO UPDATE SET uses = uses + 1",
                    (script_id, merchant_reference, section),
                )
            return Plan(script_id, content)
    return None


def schedule_steps(
    connection: sqlite3.Connection, reference: str, merchant_reference: str, metadata: Mapping[str, str]
) -> None:
    """Schedule the steps of the newest script with an `auto` section that matches this new payment."""
    for script_id, script in _matching(connection, "auto", merchant_reference, metadata):
        _schedule(connection, script_id, script, reference)
        return


def _schedule(connection: sqlite3.Connection, script_id: int, script: dict[str, Any], reference: str) -> None:
    now = time.time()
    for step in vocabulary.steps_of(script["auto"]):
        schedule_step(connection, reference, step, now + step.get("after", 0), script_id)


def schedule_step(
    connection: sqlite3.Connection, reference: str, step: dict[str, Any], due_at: float, script_id: int = _NO_SCRIPT
) -> None:
    """Store one step, by default one that belongs to no script."""
    connection.execute(
        "INSERT INTO steps (script_id, reference, step, due_at) VALUES (?, ?, ?, ?)",
        (script_id, reference, json.dumps(step), due_at),
    )


def _matching(
    connection: sqlite3.Connection, section: str, merchant_reference: str, metadata: Mapping[str, str]
) -> list[tuple[int, dict[str, Any]]]:
    rows = connection.execute(
        "SELECT id, body, match_metadata FROM scripts"
        " WHERE match_reference = :reference OR match_metadata IS NOT NULL"
        " OR id IN (SELECT script_id FROM script_bindings WHERE merchant_reference = :reference)"
        " ORDER BY id DESC",
        {"reference": merchant_reference},
    ).fetchall()
    found = []
    for row in rows:
        wanted = json.loads(row["match_metadata"]) if row["match_metadata"] else {}
        script = json.loads(row["body"])
        if section in script and wanted.items() <= metadata.items():
            found.append((row["id"], script))
    return found


def _uses(connection: sqlite3.Connection, script_id: int, merchant_reference: str, section: str) -> int:
    row = connection.execute(
        "SELECT uses FROM script_uses WHERE script_id = ? AND merchant_reference = ? AND section = ?",
        (script_id, merchant_reference, section),
    ).fetchone()
    return 0 if row is None else int(row["uses"])


def _shown(
    connection: sqlite3.Connection, script_id: int, script: dict[str, Any], next_left: int | None
) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT section, sum(uses) AS uses FROM script_uses WHERE script_id = ? GROUP BY section", (script_id,)
    ).fetchall()
    return {"id": script_id, **script, "next_left": next_left, "uses": {row["section"]: row["uses"] for row in rows}}
