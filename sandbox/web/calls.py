"""What the sandbox's own API and the emulators have in common: calls are recorded, scripted and made once for a key."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flask import Response

from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import ProviderPayment
from sandbox.scripting import scripts
from sandbox.storage.store import Store
from sandbox.values import timestamps
from sandbox.web import answers


class UsedKey(NamedTuple):
    """An idempotency key with what must be the same whenever it is used."""

    merchant: str
    key: str
    digest: str


def record_create(
    connection: sqlite3.Connection, merchant: str, order: PaymentOrder, key: str, raw: bytes
) -> dict[str, Any] | None:
    """Record the call, also one whose effect a script suppresses, and return the script's section for it."""
    reference = order.merchant_reference
    known = connection.execute("SELECT 1 FROM create_calls WHERE merchant_reference = ? LIMIT 1", (reference,))
    if known.fetchone() is None:
        scripts.bind_next(connection, reference)
    connection.execute(
        "INSERT INTO create_calls (merchant, merchant_reference, idempotency_key, body_sha256, at)"
        " VALUES (?, ?, ?, ?, ?)",
        (merchant, reference, key, digest_of(raw), timestamps.now()),
    )
    return section_of(scripts.take(connection, "create", reference, order.metadata))


def make_once(
    connection: sqlite3.Connection, used: UsedKey | None, mismatch: Response, make: Callable[[], Response]
) -> tuple[bool, Response]:
    """Return the stored answer of the key, or a new one that is stored; and whether it is new.

    A mismatch is an answer here, not an exception: the call's record must be committed either way.
    """
    if used is None:
        return True, make()
    row = connection.execute(
        "SELECT body_sha256, status, answer FROM idempotency_keys WHERE merchant = ? AND key = ?", used[:2]
    ).fetchone()
    if row is not None and row["body_sha256"] != used.digest:
        return False, mismatch
    if row is not None:
        return False, answers.plain(row["status"], row["answer"])
    made = make()
    connection.execute(
        "INSERT INTO idempotency_keys (merchant, key, body_sha256, status, answer) VALUES (?, ?, ?, ?, ?)",
        (*used, made.status_code, made.get_data()),
    )
    return True, made


def fetch_section(store: Store, merchant_reference: str, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the section of the script that applies to a payment that is read, and count the use."""
    # Most fetches happen without any script: then nothing needs to be counted or written.
    if store.reading().execute("SELECT 1 FROM scripts LIMIT 1").fetchone() is None:
        return None
    with store.writing() as connection:
        return section_of(scripts.take(connection, "fetch", merchant_reference, metadata))


def listed_section(connection: sqlite3.Connection, payment: ProviderPayment) -> dict[str, Any] | None:
    """Return the section of a script that applies to a listed payment; being listed does not count as a use."""
    return section_of(scripts.take(connection, "fetch", payment.merchant_reference, payment.metadata, counts=False))


def hides_payment(section: dict[str, Any] | None) -> bool:
    """Return whether the script says that the payment cannot be found."""
    return section is not None and section.get("status") == 404


def section_of(plan: scripts.Plan | None) -> dict[str, Any] | None:
    """Return a plan's section."""
    return None if plan is None else plan.section


def digest_of(raw: bytes) -> str:
    """Return the hash of a body."""
    return hashlib.sha256(raw).hexdigest()
