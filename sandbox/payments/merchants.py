"""Merchant accounts: their API keys, and the secrets that sign their webhooks."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

from sandbox.payments import endpoints
from sandbox.protocols import registry
from sandbox.values import json_input
from sandbox.values.refusal import Refusal

_FIELDS = ("api_key", "provider_id", "webhook_secret")
# Only an emulator's webhooks go to an address of the account, and are signed with several secrets.
_EMULATED_FIELDS = ("protocol", "webhook_url", "other_secrets")
_LONGEST_TEXT = 255
_BEARER = "bearer "


def store(connection: sqlite3.Connection, name: str, raw: bytes) -> dict[str, Any]:
    """Create or update the account `name`; later attempts of all its webhooks use the new secrets.

    Raise Refusal 400 or 422 for a bad body, 409 when another account has the key.
    """
    body = json_input.read_object(raw, (*_FIELDS, *_EMULATED_FIELDS))
    protocol = registry.PROTOCOLS.get(str(body.get("protocol", registry.NATIVE.name)))
    if protocol is None:
        raise Refusal(422, "invalid_field", f"protocol must be one of {', '.join(registry.PROTOCOLS)}")
    secret = protocol.default_secret(str(body.get("api_key")))
    values = {"name": name, **{field: body.get(field) for field in _FIELDS}}
    values |= {} if secret is None else {"webhook_secret": secret}
    for field, value in values.items():
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
            raise Refusal(422, "invalid_field", f"{field} must be a printable text of at most {_LONGEST_TEXT}")
    protocol.check_account(str(body["api_key"]), str(values["webhook_secret"]))
    _insert(connection, {**values, "protocol": protocol.name, "digest": _digest(str(body["api_key"]))})
    secrets = [str(values["webhook_secret"]), *_other_secrets(body.get("other_secrets"))]
    url = json_input.read_url(body.get("webhook_url"), "webhook_url")
    if url is not None:
        endpoints.store(connection, endpoints.own_id(name), name, url, secrets, "*")
    return {"name": name, "provider_id": values["provider_id"], "protocol": protocol.name}


def _other_secrets(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise Refusal(422, "invalid_field", "other_secrets must be a list of texts")
    return value


def _insert(connection: sqlite3.Connection, values: dict[str, Any]) -> None:
    try:
        connection.execute(
            "INSERT INTO merchants (name, api_key_sha256, provider_id, webhook_secret, protocol)"
            " VALUES (:name, :digest, :provider_id, :webhook_secret, :protocol)"
            " ON CONFLICT (name) DO UPDATE SET api_key_sha256 = excluded.api_key_sha256,"
            " provider_id = excluded.provider_id, webhook_secret = excluded.webhook_secret,"
            " protocol = excluded.protocol",
            values,
        )
    except sqlite3.IntegrityError:
        raise Refusal(409, "key_taken", "another merchant has this api_key") from None


def named_by(connection: sqlite3.Connection, protocol: str, key: str) -> str | None:
    """Return the name of the account of a protocol that has this credential, or None."""
    row = connection.execute(
        "SELECT name FROM merchants WHERE api_key_sha256 = ? AND protocol = ?", (_digest(key), protocol)
    ).fetchone()
    return None if row is None else str(row["name"])


def authenticate(connection: sqlite3.Connection, authorization: str | None) -> str:
    """Return the name of the merchant that calls.

    Without a key that is the only merchant. Raise Refusal 401 where there are several.
    """
    named = from_key(connection, authorization)
    if named is not None:
        return named
    names = connection.execute("SELECT name FROM merchants WHERE protocol = 'sandbox' LIMIT 2").fetchall()
    if len(names) != 1:
        raise Refusal(401, "unauthenticated", "an api key is needed: Authorization: Bearer <api_key>")
    return str(names[0]["name"])


def from_key(connection: sqlite3.Connection, authorization: str | None) -> str | None:
    """Return the name of the merchant whose key was sent, None without a key. Raise Refusal 401 for a wrong one."""
    if authorization is None:
        return None
    if authorization[: len(_BEARER)].lower() == _BEARER:
        key = authorization[len(_BEARER) :].strip()
        name = named_by(connection, registry.NATIVE.name, key)
        if name is not None:
            return name
    raise Refusal(401, "unauthenticated", "unknown api key")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
