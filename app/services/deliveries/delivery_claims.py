"""Claims deliveries that are due, in sets, and keeps the bytes of those that are sent for the first time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, fields
from typing import Any

from app.core.signatures import decode_secret
from app.runtime.runtime import Runtime
from app.services.deliveries.delivery_statements import CLAIM_DELIVERIES, KEEP_MESSAGES, MESSAGES
from app.services.queues.dispatcher import Claims, UnderWay
from app.services.records import notifications
from models import Row, buffer, new_id, read
from models.array_params import uuid_array

# Three times the longest attempt: a slow answer still finds its claim, a killed worker's row is free again soon.
LEASE_SECONDS = 45
# Attempts under way at one endpoint, of all workers; watch_deliveries() knows the number as well.
ENDPOINT_CALLS_MAX = 16
# No claim waits for another one; whatever else is locked for longer is a stranger's.
LOCK_MS = 500
# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x64656C76


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A claimed row of `delivery_work`; `has_failures` and `opens` are of its endpoint's breaker."""

    claim_id: uuid.UUID
    delivery_id: uuid.UUID
    tenant_id: uuid.UUID
    endpoint_id: uuid.UUID
    attempts: int
    has_failures: bool
    opens: int

    @property
    def work_id(self) -> uuid.UUID:
        """The key of the row of work."""
        return self.delivery_id

    @property
    def is_half_open(self) -> bool:
        """Whether this is the single attempt that tests whether a paused endpoint answers again."""
        return self.opens > 0


@dataclass(frozen=True, slots=True)
class DueDelivery(ClaimedDelivery):
    """A claimed delivery and all that is needed to send it without another query."""

    url: str
    # The same for every endpoint, attempt and redelivery: what a receiver recognises a repeated message by.
    webhook_id: str
    message: bytes = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)


class EndpointGone(Exception):
    """The endpoint is disabled or deleted."""


class MessageGone(Exception):
    """The notification was dropped with its month before it was sent for the first time."""


# A set of deliveries, those that cannot be sent apart.
DeliveryClaims = Claims[ClaimedDelivery, DueDelivery]


def claim_deliveries(runtime: Runtime, room: int, under_way: UnderWay) -> DeliveryClaims:
    """Claim up to `room` due deliveries. Raise DBAPIError where nothing can be claimed."""
    wanted = {
        "claim_id": new_id(),
        "room": room,
        "calls_max": under_way.calls_max,
        "endpoint_calls_max": ENDPOINT_CALLS_MAX,
        "busy_tenants": uuid_array(under_way.busy),
        "busy_calls": list(under_way.busy.values()),
        "answered_ids": uuid_array(claim.work_id for claim in under_way.answered),
        "answered_claims": uuid_array(claim.claim_id for claim in under_way.answered),
        "lease": LEASE_SECONDS,
        "space": _LOCK_SPACE,
        "lock_timeout": str(LOCK_MS),
    }
    with runtime.database.transaction("deliver", by_keys="few") as connection:
        rows = read(connection, CLAIM_DELIVERIES, wanted)
        claims = DeliveryClaims(is_more_due=rows[0].is_more_due, is_contended=rows[0].is_contended)
        keys: dict[str, bytes] = {}
        first_tries = []
        for row in rows:
            if row.claim_id is None:
                break
            try:
                delivery = _prepare(runtime, row, keys)
            except Exception as error:  # what one row holds stops neither its queue nor this worker
                claims.unready.append((ClaimedDelivery(**_values(row)), error))
                continue
            claims.calls.append(delivery)
            if row.message is None:
                first_tries.append((delivery.delivery_id, delivery.message))
        # In the claim's own commit: every try sends the same bytes, whatever release renders them.
        if first_tries:
            buffer(connection, KEEP_MESSAGES, MESSAGES.encode(first_tries))
    return claims


def _values(row: Row) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in fields(ClaimedDelivery)}


def _prepare(runtime: Runtime, row: Row, keys: dict[str, bytes]) -> DueDelivery:
    if row.is_gone:
        raise EndpointGone
    if row.message is None and row.payload is None:
        raise MessageGone
    if row.message is None:
        text = notifications.encode(row.event_id, row.event_type, row.payload, row.at, row.about)
    return DueDelivery(
        **_values(row),
        url=row.url,
        webhook_id=str(row.notification_id or row.delivery_id),
        message=text.encode() if row.message is None else bytes(row.message),
        keys=tuple(_read_key(runtime, secret, keys) for secret in row.secrets or ()),
    )


def _read_key(runtime: Runtime, encrypted: str, known: dict[str, bytes]) -> bytes:
    """Return the key of a secret, which is decrypted once for all deliveries of a claim. Raise VaultError."""
    if encrypted not in known:
        known[encrypted] = decode_secret(runtime.vault.decrypt(encrypted.encode("ascii")))
    return known[encrypted]
