"""Verification of deliveries to webhook endpoints (Standard Webhooks)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sluice_client.errors import WebhookVerificationError
from sluice_client.models import Event

# The specification's; an older delivery may be a replay.
TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class RequestHeaders(Protocol):
    """The headers of a request as any framework has them: a mapping, or something with its `items`."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return the names and values."""


def verify_webhook(
    body: bytes,
    headers: RequestHeaders,
    secrets: str | Sequence[str],
    tolerance: int = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Event:
    """Return the event of a delivery whose signature holds; else raise WebhookVerificationError.

    `body` is the raw body: one that was parsed and written again has other bytes. `secrets` are `whsec_...`, one or,
    while a rotation overlaps, the new and the old one. `tolerance` is how many seconds the timestamp may be off, `now`
    the time to compare it with. The event's `webhook-id` is the same on each try: an id seen before is a duplicate.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = _read(given, "webhook-id"), _read(given, "webhook-timestamp")
    signatures = _read(given, "webhook-signature")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookVerificationError("the timestamp is no whole number of seconds")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise WebhookVerificationError(f"the timestamp is more than {tolerance} seconds off")
    signed = f"{message_id}.{timestamp}.".encode() + body
    keys = [_decode(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    expected = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    if not _has_match(signatures, expected):
        raise WebhookVerificationError("no signature is right")
    try:
        event: Event = json.loads(body)
    except ValueError as error:
        raise WebhookVerificationError("the body is no JSON") from error
    return event


def _read(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WebhookVerificationError(f"the header {name} is missing")
    return value


def _has_match(signatures: str, expected: list[bytes]) -> bool:
    # Signatures of other versions are skipped, as the specification says.
    given = [entry.removeprefix("v1,").encode() for entry in signatures.split(" ") if entry.startswith("v1,")]
    # Compared with every secret, so that the time does not depend on which one fits.
    matches = [hmac.compare_digest(one, other) for one in given for other in expected]
    return any(matches)


def _decode(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret is whsec_ and base64") from error
    if not key:
        raise ValueError("a secret must not be empty")
    return key
