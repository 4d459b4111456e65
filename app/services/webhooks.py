"""The inbox: verified deliveries are stored before they are answered, and settled in sets afterwards."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.core import signatures
from app.core.errors import WebhookRejected
from app.core.strict_json import JsonError, loads
from app.metrics import WEBHOOKS_RECEIVED, WEBHOOKS_REFUSED
from app.runtime import Runtime
from models import Database, new_id

# CONTRACT section 4: larger bodies are 413.
BODY_BYTES_MAX = 256 * 1024
# What the operator keeps of a refused delivery; the ring of slots bounds their number.
REFUSED_BYTES_KEPT = 4_096

# Headers that are kept with a webhook: what is signed, and what tells the sender. Credentials are never kept.
KEPT_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent")

# The statuses that each path takes; a status that contradicts the path is refused.
PATH_STATUSES: dict[str, frozenset[str]] = {
    "payment-success": frozenset({"success"}),
    "payment-failed": frozenset({"failed", "cancelled"}),
    "payment-callback": frozenset({"success", "failed", "cancelled"}),
}
PROVIDER_PATH = "provider"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery as it came: `path` is a key of PATH_STATUSES or `provider`; headers have lower-case names."""

    path: str
    provider_id: str | None
    headers: Mapping[str, str]
    body: bytes
    remote_address: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sender is told."""

    webhook_id: uuid.UUID
    is_duplicate: bool
    is_conflict: bool


@dataclass(frozen=True, slots=True)
class _Provider:
    id: uuid.UUID
    tenant_id: uuid.UUID
    ip_allowlist: tuple[str, ...]
    keys: tuple[bytes, ...]


def receive(runtime: Runtime, delivery: Delivery) -> Receipt:
    """Verifies and stores a delivery, rings, and returns its receipt; the row is committed by then.

    Raises WebhookRejected (400, 403, 404) after keeping a bounded record of the refusal, and
    sqlalchemy.exc.DBAPIError where it could not be stored: the sender has to try again.
    """
    provider_id = None
    try:
        body = _parse(delivery)
        provider_id = _provider_id(delivery, body)
        provider = _find_provider(runtime, provider_id)
        _verify(delivery, provider)
        _check_path(delivery, body)
    except WebhookRejected as rejection:
        WEBHOOKS_REFUSED.labels(rejection.reason).inc()
        _keep_refusal(runtime.database, delivery, provider_id, rejection.reason)
        raise
    receipt = _store(runtime.database, delivery, provider, body)
    outcome = "conflict" if receipt.is_conflict else "duplicate" if receipt.is_duplicate else "stored"
    WEBHOOKS_RECEIVED.labels(outcome).inc()
    if outcome == "stored":
        runtime.doorbells.ring("settle")
    return receipt


def _parse(delivery: Delivery) -> Any:
    try:
        return loads(delivery.body)
    except JsonError as error:
        if delivery.path == PROVIDER_PATH:
            # The path names the provider; a signed body that cannot be read is kept for a person.
            return None
        raise WebhookRejected(400, "json", str(error)) from None


def _provider_id(delivery: Delivery, body: Any) -> uuid.UUID:
    named = delivery.provider_id
    if delivery.path != PROVIDER_PATH:
        named = body.get("provider_id") if isinstance(body, dict) else None
    try:
        return uuid.UUID(named if isinstance(named, str) else "")
    except ValueError:
        if delivery.path != PROVIDER_PATH and (not isinstance(body, dict) or not isinstance(named, str)):
            raise WebhookRejected(400, "json", "the body names no provider_id") from None
        raise WebhookRejected(404, "unknown_provider", "there is no such provider") from None


def _find_provider(runtime: Runtime, provider_id: uuid.UUID) -> _Provider:
    with runtime.database.transaction("door") as connection:
        row = connection.execute(
            text("select tenant_id, ip_allowlist, secrets from door_find_provider(:id)"), {"id": provider_id}
        ).first()
    if row is None:
        raise WebhookRejected(404, "unknown_provider", "there is no such provider")
    keys = tuple(signatures.decode_secret(runtime.vault.decrypt(secret)) for secret in row.secrets)
    return _Provider(provider_id, row.tenant_id, tuple(row.ip_allowlist), keys)


def _verify(delivery: Delivery, provider: _Provider) -> None:
    if provider.ip_allowlist and not _is_allowed(delivery.remote_address, provider.ip_allowlist):
        raise WebhookRejected(403, "address", "this address may not send webhooks for the provider")
    webhook_id = delivery.headers.get("webhook-id", "")
    timestamp = delivery.headers.get("webhook-timestamp", "")
    signatures.check_webhook_id(webhook_id)
    signatures.check_timestamp(timestamp, time.time())
    signature = delivery.headers.get("webhook-signature", "")
    signatures.verify_standard(provider.keys, webhook_id, timestamp, signature, delivery.body)


def _is_allowed(address: str, networks: tuple[str, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in ipaddress.ip_network(network) for network in networks)


def _check_path(delivery: Delivery, body: Any) -> None:
    statuses = PATH_STATUSES.get(delivery.path)
    status = body.get("status") if isinstance(body, dict) else None
    known = PATH_STATUSES["payment-callback"]
    if statuses is not None and isinstance(status, str) and status in known - statuses:
        raise WebhookRejected(400, "path", f"the status {status!r} does not go with this path")


_STORE = text(
    """
    select webhook_id, is_duplicate, is_conflict from door_store_webhooks(
        cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:providers as uuid[]), cast(:external_ids as text[]),
        cast(:paths as text[]), cast(:bodies as bytea[]), cast(:headers as jsonb[]), cast(:sha256s as bytea[]),
        cast(:addresses as text[]), cast(:payments as uuid[])) order by place
    """
)


def _store(database: Database, delivery: Delivery, provider: _Provider, body: Any) -> Receipt:
    headers = {name: delivery.headers[name] for name in KEPT_HEADERS if name in delivery.headers}
    with database.transaction("door") as connection:
        row = connection.execute(
            _STORE,
            {
                "ids": [new_id()],
                "tenants": [provider.tenant_id],
                "providers": [provider.id],
                "external_ids": [delivery.headers["webhook-id"]],
                "paths": [delivery.path],
                "bodies": [delivery.body],
                "headers": [json.dumps(headers)],
                "sha256s": [hashlib.sha256(delivery.body).digest()],
                "addresses": [delivery.remote_address],
                "payments": [_named_payment(body)],
            },
        ).one()
    return Receipt(row.webhook_id, row.is_duplicate, row.is_conflict)


def _named_payment(body: Any) -> uuid.UUID | None:
    named = body.get("transaction_id") if isinstance(body, dict) else None
    try:
        return uuid.UUID(named) if isinstance(named, str) else None
    except ValueError:
        return None


def refuse(runtime: Runtime, delivery: Delivery, reason: str) -> None:
    """Keeps a bounded record of a delivery that was refused before it was looked at (size, media type)."""
    WEBHOOKS_REFUSED.labels(reason).inc()
    _keep_refusal(runtime.database, delivery, None, reason)


def _keep_refusal(database: Database, delivery: Delivery, provider_id: uuid.UUID | None, reason: str) -> None:
    with database.transaction("door") as connection:
        _insert_refusal(connection, delivery, provider_id, reason)


def _insert_refusal(connection: Connection, delivery: Delivery, provider_id: uuid.UUID | None, reason: str) -> None:
    connection.execute(
        text("select door_refuse_webhook(cast(:provider as uuid), :reason, :address, :head)"),
        {
            "provider": provider_id,
            "reason": reason,
            "address": delivery.remote_address[:64],
            "head": delivery.body[:REFUSED_BYTES_KEPT],
        },
    )
