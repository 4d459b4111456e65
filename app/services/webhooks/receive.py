"""Receive webhooks: a delivery is verified and stored before it is answered, and settled later in a batch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.core import signatures
from app.core.errors import ProviderUnusable, WebhookRejected
from app.core.strict_json import JsonError, loads
from app.providers import Received
from app.providers.events import PROVIDER_PATH
from app.runtime.metrics import WEBHOOKS_RECEIVED, WEBHOOKS_REFUSED
from app.runtime.runtime import Runtime
from app.runtime.token_bucket import TokenBucket
from app.services.access.senders import Sender, find_sender
from app.services.payments.calls import provider_trouble
from app.services.webhooks.inbox import ADDRESS_CHARACTERS_MAX, InboxRow, Receipt, store
from app.services.webhooks.kept_headers import keep_headers
from models import new_id
from models.array_params import uuid_array
from models.database import single

# CONTRACT section 4: larger bodies are 413.
BODY_BYTES_MAX = 256 * 1024
# Bytes kept of a refused delivery; a ring of slots in the database bounds their number.
REFUSED_BYTES_KEPT = 4_096
# Each record is a write: a flood of refusals must not slow the database for payments. The metric counts all.
RECORDS_PER_SECOND = 20.0

# The statuses that each path accepts; a status that contradicts the path is refused.
PATH_STATUSES: dict[str, frozenset[str]] = {
    "payment-success": frozenset({"success"}),
    "payment-failed": frozenset({"failed", "cancelled"}),
    "payment-callback": frozenset({"success", "failed", "cancelled", "processing"}),
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery as received: `path` is a key of PATH_STATUSES, `provider` or `poke`; `headers` has lower-case names.

    `doubled`: the lower-case names of headers that occurred more than once, whose values are joined in `headers`.
    """

    path: str
    provider_id: str | None
    headers: Mapping[str, str]
    body: bytes
    remote_address: str
    doubled: frozenset[str] = frozenset()


def receive(runtime: Runtime, delivery: Delivery) -> Receipt:
    """Verify, store and commit a delivery, ring, and return its receipt.

    Raise WebhookRejected (400, 403, 404) after keeping a bounded record of the refusal; ProviderUnusable where the
    provider's configuration does not allow to verify it now, and sqlalchemy.exc.SQLAlchemyError where it could not be
    stored: the sender has to try again.
    """
    provider_id = None
    try:
        body = _parse(delivery)
        provider_id = _provider_id(delivery, body)
        sender, external_id = _verify(runtime, delivery, provider_id, body)
        _check_path(delivery, body)
    except WebhookRejected as rejection:
        refuse(runtime, delivery, rejection.reason, provider_id)
        raise
    except ProviderUnusable as error:
        refuse(runtime, delivery, "provider_unusable", provider_id)
        if provider_id is not None:
            provider_trouble.note(runtime, provider_id, str(error), role="door")
        raise
    receipt = store(runtime.database, _row(runtime, delivery, sender, external_id, body))
    outcome = "conflict" if receipt.is_conflict else "duplicate" if receipt.is_duplicate else "stored"
    _OUTCOMES[outcome].inc()
    if outcome == "stored":
        runtime.doorbells.ring("settle")
    return receipt


def _parse(delivery: Delivery) -> Any:
    try:
        return loads(delivery.body)
    except JsonError as error:
        if delivery.path == PROVIDER_PATH:
            # The path names the provider; a signed body that is no JSON is kept for an operator.
            return None
        raise WebhookRejected(400, "json", str(error), "json_invalid") from None


def _provider_id(delivery: Delivery, body: Any) -> uuid.UUID:
    named = delivery.provider_id
    if delivery.path != PROVIDER_PATH:
        named = body.get("provider_id") if isinstance(body, dict) else None
    try:
        return _read_provider_id(named if isinstance(named, str) else "")
    except ValueError:
        if delivery.path != PROVIDER_PATH and (not isinstance(body, dict) or not isinstance(named, str)):
            raise WebhookRejected(400, "json", "the body names no provider_id", "webhook_without_provider") from None
        raise WebhookRejected(404, "unknown_provider", "there is no such provider", "provider_unknown") from None


# Providers are few, and each delivery names one.
_read_provider_id = functools.lru_cache(maxsize=1_024)(uuid.UUID)


def _verify(runtime: Runtime, delivery: Delivery, provider_id: uuid.UUID, body: Any) -> tuple[Sender, str]:
    """Return the sender and the delivery's id. Raise WebhookRejected, and ProviderUnusable."""
    sender = find_sender(runtime, provider_id)
    if sender is None:
        raise WebhookRejected(404, "unknown_provider", "there is no such provider", "provider_unknown")
    try:
        return sender, _check_sender(runtime, delivery, sender, body)
    except WebhookRejected as rejection:
        # A secret or an address may have been added since the provider was cached: verify against its present row.
        present = find_sender(runtime, provider_id, newer_than=sender.read_at)
        if present is not None and present != replace(sender, read_at=present.read_at):
            sender = present
            with _excused(sender):
                return sender, _check_sender(runtime, delivery, sender, body)
        with _excused(sender):
            raise rejection


@contextlib.contextmanager
def _excused(sender: Sender) -> Iterator[None]:
    """Raise ProviderUnusable instead of refusing a signature where one of the sender's secrets cannot be read."""
    try:
        yield
    except WebhookRejected as rejection:
        if sender.problem and rejection.reason == "signature":
            raise ProviderUnusable(sender.problem, provider_id=sender.id) from None
        raise


def _check_sender(runtime: Runtime, delivery: Delivery, sender: Sender, body: Any) -> str:
    """Return the delivery's external id. Raise WebhookRejected, and ProviderUnusable."""
    if not sender.may_send_from(delivery.remote_address):
        message = "this address may not send webhooks for the provider"
        raise WebhookRejected(403, "address", message, "address_forbidden")
    adapter = runtime.find_adapter(sender.adapter)
    if delivery.doubled.intersection(adapter.signature_headers(sender.scheme)):
        raise signatures.rejected("doubled_header")
    received = Received(delivery.headers, delivery.body, body)
    return adapter.verify(sender.scheme, sender.keys, received, time.time())


def _check_path(delivery: Delivery, body: Any) -> None:
    statuses = PATH_STATUSES.get(delivery.path)
    status = body.get("status") if isinstance(body, dict) else None
    known = PATH_STATUSES["payment-callback"]
    if statuses is not None and isinstance(status, str) and status in known - statuses:
        message = f"the status {status!r} does not go with this path"
        raise WebhookRejected(400, "path", message, "webhook_path_mismatch")


def _row(runtime: Runtime, delivery: Delivery, sender: Sender, external_id: str, body: Any) -> InboxRow:
    adapter = runtime.find_adapter(sender.adapter)
    signed = adapter.signature_headers(sender.scheme)
    headers = keep_headers(delivery.headers, signed, adapter.credential_headers)
    named = _name_payment(runtime, delivery.path, sender, body)
    digest = hashlib.sha256(delivery.body).digest()
    delivered = (delivery.path, delivery.body, headers, digest, delivery.remote_address, *named)
    return InboxRow(new_id(), sender.tenant_id, sender.id, external_id, *delivered)


def _name_payment(runtime: Runtime, path: str, sender: Sender, body: Any) -> tuple[uuid.UUID | None, str | None]:
    """Return the payment that the body names, by our id or by the provider's.

    So its timeline has the webhook before it is settled, and its expiry waits for that.
    """
    name = runtime.find_adapter(sender.adapter).name_payment(path, body)
    return (None, name) if isinstance(name, str) else (name, None)


_REFUSE = single(
    "select door_refuse_webhook(cast(:provider as uuid), :reason, :address, :head, cast(:named as uuid[]))"
)
# Ids in a refused body, in either letter case; a few are enough, since an honest body names one payment.
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAMED_MAX = 8


def refuse(runtime: Runtime, delivery: Delivery, reason: str, provider_id: uuid.UUID | None = None) -> None:
    """Count a refused delivery and keep a bounded record of it."""
    WEBHOOKS_REFUSED.labels(reason).inc()
    if not _records.take():
        return
    head, address = delivery.body[:REFUSED_BYTES_KEPT], delivery.remote_address[:ADDRESS_CHARACTERS_MAX]
    refused = {"provider": provider_id, "reason": reason, "address": address, "head": head}
    refused["named"] = uuid_array(_named_ids(head, provider_id))
    # The refusal does not depend on its record.
    with contextlib.suppress(SQLAlchemyError):
        runtime.database.run_single("door", _REFUSE, refused)


def _named_ids(head: bytes, provider_id: uuid.UUID | None) -> list[uuid.UUID]:
    """Return ids in the first bytes of a refused body; the database knows which of them is a payment.

    The bytes are searched, not parsed: a body that was cut, or is no JSON, may still name its payment.
    """
    found = dict.fromkeys(uuid.UUID(match.group().decode("ascii")) for match in _UUID.finditer(head))
    return [one for one in found if one != provider_id][:_NAMED_MAX]


_OUTCOMES = {outcome: WEBHOOKS_RECEIVED.labels(outcome) for outcome in ("stored", "duplicate", "conflict")}
_records = TokenBucket(RECORDS_PER_SECOND)
