"""Merchant accounts: their API keys, and the secrets that sign their webhooks."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

from sandbox.values import json_input, signing
from sandbox.values.refusal import Refusal

_FIELDS = ("api_key", "provider_id", "webhook_secret")
_LONGEST_TEXT = 255
_BEARER = "bearer "


def store(connection: sqlite3.Connection, name: str, raw: bytes) -> dict[str, Any]:
    """Create or update the account `name`; later attempts of all its webhooks use the new secret.

    Raise Refusal 400 or 422 for a bad body, 409 when another account has the key.
    """
    body = json_input.read_object(raw, _FIELDS)
    for field in _FIELDS:
        value = body.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
            raise Refusal(422, "invalid_field", f"{field} must be a printable text of at most {_LONGEST_TEXT}")
    if not 0 < len(name) <= _LONGEST_TEXT or not name.isprintable():
        raise Refusal(422, "invalid_field", f"the merchant's name must be a printable text of at most {_LONGEST_TEXT}")
    signing.secret_bytes(body["webhook_secret"])
    try:
        connection.execute(
            "INSERT INTO merchants (name, api_key_sha256, provider_id, webhook_secret) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET api_key_sha256 = excluded.api_key_sha256,"
            " provider_id = excluded.provider_id, webhook_secret = excluded.webhook_secret",
            (name, _digest(str(body["api_key"])), body["provider_id"], body["webhook_secret"]),
        )
    except sqlite3.IntegrityError:
        raise Refusal(409, "key_taken", "another merchant has this api_key") from None
    return {"name": name, "provider_id": body["provider_id"]}


def authenticate(connection: sqlite3.Connection, authorization: str | None) -> str:
    """Return the name of the merchant that calls.

    Without a key that is the only merchant. Raise Refusal 401 where there are several.
    """
    named = from_key(connection, authorization)
    if named is not None:
        return named
    names = connection.execute("SELECT name FROM merchants LIMIT 2").fetchall()
    if len(names) != 1:
        raise Refusal(401, "unauthenticated", "an api key is needed: Authorization: Bearer <api_key>")
    return str(names[0]["name"])


def from_key(connection: sqlite3.Connection, authorization: str | None) -> str | None:
    """Return the name of the merchant whose key was sent, None without a key. Raise Refusal 401 for a wrong one."""
    if authorization is None:
        return None
    if authorization[: len(_BEARER)].lower() == _BEARER:
        key = authorization[len(_BEARER) :].strip()
        row = connection.execute("SELECT name FROM merchants WHERE api_key_sha256 = ?", (_digest(key),)).fetchone()
        if row is not None:
            return str(row["name"])
    raise Refusal(401, "unauthenticated", "unknown api key")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
