"""Webhook signatures, verified over the raw bytes in constant time. Standard Webhooks: standardwebhooks.com."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence

from app.core.errors import WebhookRejected

# CONTRACT section 4: either way, judged once, on receipt.
TIMESTAMP_TOLERANCE_SECONDS = 300
SIGNATURE_HEADER_BYTES_MAX = 4_096
SIGNATURE_ENTRIES_MAX = 10
# A shorter secret can be guessed; such a one is refused when it is loaded.
SECRET_BYTES_MIN = 24
SECRET_PREFIX = "whsec_"  # noqa: S105  # nosec B105  # the public prefix, not a secret

_WEBHOOK_ID = re.compile(r"[!-+\--~]{1,255}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def decode_secret(secret: str) -> bytes:
    """Returns the key bytes of a `whsec_` secret (standard padded base64). Raises ValueError for a weak one."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("a webhook secret starts with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is whsec_ and standard padded base64") from error
    if len(key) < SECRET_BYTES_MIN:
        raise ValueError(f"a webhook secret has at least {SECRET_BYTES_MIN} bytes")
    return key


def encode_secret(key: bytes) -> str:
    """Returns `key` as a `whsec_` secret."""
    return SECRET_PREFIX + base64.b64encode(key).decode("ascii")


def sign_standard(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Returns the `v1` entry of a Standard Webhooks signature."""
    digest = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode("ascii") + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode("ascii")


def check_webhook_id(webhook_id: str) -> None:
    """Raises WebhookRejected unless the id is 1 to 255 printable ASCII characters without comma and blank."""
    if not _WEBHOOK_ID.fullmatch(webhook_id):
        raise WebhookRejected(400, "webhook_id", "the header webhook-id is missing or malformed")


def check_timestamp(timestamp: str, now_seconds: float) -> None:
    """Raises WebhookRejected unless the timestamp is whole seconds within the tolerance of `now_seconds`."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookRejected(400, "timestamp", "the header webhook-timestamp is missing or malformed")
    if abs(now_seconds - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise WebhookRejected(400, "timestamp", "the webhook's timestamp is too far from the present")


def verify_standard(keys: Sequence[bytes], webhook_id: str, timestamp: str, signature: str, body: bytes) -> None:
    """Raises WebhookRejected unless one `v1` entry of `signature` fits one of `keys`.

    Every entry is compared with every key, so that the time taken says nothing of which one fitted.
    """
    rejected = WebhookRejected(400, "signature", "no signature matches")
    if not signature.isascii() or len(signature) > SIGNATURE_HEADER_BYTES_MAX:
        raise rejected
    entries = signature.split(" ")
    if len(entries) > SIGNATURE_ENTRIES_MAX:
        raise rejected
    given = [digest for entry in entries if (digest := _strict_digest(entry)) is not None]
    signed = f"{webhook_id}.{timestamp}.".encode("ascii") + body
    matches = False
    for key in keys:
        expected = hmac.digest(key, signed, hashlib.sha256)
        for digest in given:
            matches |= hmac.compare_digest(expected, digest)
    if not matches:
        raise rejected


def _strict_digest(entry: str) -> bytes | None:
    version, comma, encoded = entry.partition(",")
    if version != "v1" or not comma:
        return None
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    # Strict: one digest has one spelling, and nothing else is taken for it.
    return digest if base64.b64encode(digest).decode("ascii") == encoded else None
