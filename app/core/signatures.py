"""Webhook signatures, verified over the raw bytes in constant time (CONTRACT section 4).

Which scheme and which keys count comes from the provider's configuration, never from the message. Sources:
standardwebhooks.com, docs.stripe.com/webhooks, and GitHub's `X-Hub-Signature-256` for the plain HMAC.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.core.errors import WebhookRejected

# CONTRACT section 4: either way, judged once, on receipt.
TIMESTAMP_TOLERANCE_SECONDS = 300
SIGNATURE_HEADER_BYTES_MAX = 4_096
SIGNATURE_ENTRIES_MAX = 10
# Shorter secrets can be guessed; they are refused when they are decoded.
SECRET_BYTES_MIN = 24
SECRET_PREFIX = "whsec_"  # noqa: S105  # nosec B105  # the public prefix, not a secret
# Public keys of senders that sign with a key pair; the private half (whsk_) stays with the sender.
PUBLIC_KEY_PREFIX = "whpk_"
PRIVATE_KEY_PREFIX = "whsk_"
PUBLIC_KEY_BYTES = 32

STANDARD, STRIPE, HMAC_HEX = "standard", "stripe", "hmac-sha256-hex"
SCHEMES = (STANDARD, STRIPE, HMAC_HEX)
# Only an adapter names it, a provider's row does not.
HMAC_SHA512_HEX = "hmac-sha512-hex"
# The names GitHub and most others that sign with a plain HMAC use; a provider's row may name another.
HMAC_HEADER_DEFAULT = "x-hub-signature-256"

WEBHOOK_ID = re.compile(r"[!-+\--~]{1,255}", re.ASCII)
TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
# Either case: hex has no meaning in its case, and some senders write upper.
_HEX_DIGEST = re.compile(r"(?:[0-9a-fA-F]{64}){1,2}", re.ASCII)
# What is signed is id.timestamp.body: an id with a timestamp of its own in it lets the same signed bytes be read as a
# shorter id, that timestamp, and a body that begins with the rest. At the end only what can be a time of this century
# (nine digits and more) is refused, so that ordinary ids such as order.created.7 stay good.
_ID_WITH_TIMESTAMP = re.compile(r"\.[0-9]{1,12}\.|\.[0-9]{9,12}$", re.ASCII)


class PublicKey(Protocol):
    """The public half of a sender's key pair."""

    def fits(self, signature: bytes, signed: bytes) -> bool:
        """Return whether `signature` over `signed` was made with the private half."""


Key = bytes | PublicKey


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a provider signs: `name` is one of SCHEMES or HMAC_SHA512_HEX; the header and the id's body field vary."""

    name: str = STANDARD
    header: str | None = None
    id_field: str | None = None

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers that belong to the signature, in lower case."""
        if self.name == STANDARD:
            return ("webhook-id", "webhook-timestamp", "webhook-signature")
        return ("stripe-signature",) if self.name == STRIPE else ((self.header or HMAC_HEADER_DEFAULT).lower(),)


def rejected(reason: str) -> WebhookRejected:
    """Return the error for a signature; `reason` is for operators, the client's message is always the same."""
    message = "the webhook's id, timestamp or signature is missing, malformed or wrong"
    return WebhookRejected(400, reason, message, "webhook_unverified")


def _decode_base64(encoded: str) -> bytes | None:
    """Return the bytes of canonical standard base64 with padding, None for everything else."""
    try:
        value = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    return value if base64.b64encode(value).decode("ascii") == encoded else None


def decode_secret(secret: str) -> bytes:
    """Return the key bytes of a `whsec_` secret (standard padded base64). Raise ValueError for a weak one."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("a webhook secret starts with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is whsec_ and standard padded base64") from error
    if len(key) < SECRET_BYTES_MIN:
        raise ValueError(f"a webhook secret has at least {SECRET_BYTES_MIN} bytes")
    return key


def decode_public_key(secret: str) -> bytes:
    """Return the ed25519 public key of a `whpk_` key. Raise ValueError."""
    key = _decode_base64(secret.removeprefix(PUBLIC_KEY_PREFIX))
    if not secret.startswith(PUBLIC_KEY_PREFIX) or key is None or len(key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"a public webhook key is whpk_ and standard padded base64 of {PUBLIC_KEY_BYTES} bytes")
    return key


def check_secret(scheme: str, secret: str) -> None:
    """Raise ValueError unless `secret` can verify webhooks of `scheme`."""
    if secret.startswith(PRIVATE_KEY_PREFIX):
        raise ValueError("whsk_ is the sender's private webhook key; Sluice needs its public half, whpk_")
    if scheme == STANDARD and secret.startswith(PUBLIC_KEY_PREFIX):
        decode_public_key(secret)
    else:
        decode_hmac_key(scheme, secret)


def decode_hmac_key(scheme: str, secret: str) -> bytes:
    """Return the HMAC key of a secret: the bytes that `whsec_` encodes, or for other schemes the text as it stands."""
    if scheme == STANDARD:
        return decode_secret(secret)
    if not secret.isascii() or len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"a webhook secret has at least {SECRET_BYTES_MIN} ASCII characters")
    return secret.encode("ascii")


def encode_secret(key: bytes) -> str:
    """Return `key` as a `whsec_` secret."""
    return SECRET_PREFIX + base64.b64encode(key).decode("ascii")


def sign_standard(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Return the `v1` entry of a Standard Webhooks signature."""
    digest = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode("ascii") + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode("ascii")


def check_webhook_id(webhook_id: str) -> None:
    """Raise WebhookRejected unless the id is 1 to 255 printable ASCII characters without comma and blank.

    An id that could end earlier, with a timestamp after it, is refused as well: signed bytes have one reading.
    """
    if not WEBHOOK_ID.fullmatch(webhook_id) or _ID_WITH_TIMESTAMP.search(webhook_id):
        raise rejected("webhook_id")


def check_timestamp(timestamp: str, now_seconds: float) -> None:
    """Raise WebhookRejected unless the timestamp is whole seconds within the tolerance of `now_seconds`."""
    if not TIMESTAMP.fullmatch(timestamp):
        raise rejected("timestamp")
    if abs(now_seconds - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise rejected("timestamp")


def verify(
    scheme: Scheme, keys: Sequence[Key], headers: Mapping[str, str], body: bytes, parsed: Any, now_seconds: float
) -> str:
    """Return the delivery's id once its signature holds. Raise WebhookRejected.

    `headers` has lower-case names; `parsed` is the body as JSON, which is not used before the signature holds.
    """
    given = [headers.get(name, "") for name in scheme.headers]
    if scheme.name == STANDARD:
        webhook_id, timestamp, signature = given
        check_webhook_id(webhook_id)
        check_timestamp(timestamp, now_seconds)
        verify_standard(keys, webhook_id, timestamp, signature, body)
        return webhook_id
    if scheme.name == STRIPE:
        verify_stripe(keys, given[0], body, now_seconds)
        return _read_id(parsed, "id", body)
    verify_hex(keys, given[0], body, "sha512" if scheme.name == HMAC_SHA512_HEX else "sha256")
    return _read_id(parsed, scheme.id_field, body)


def verify_standard(keys: Sequence[Key], webhook_id: str, timestamp: str, signature: str, body: bytes) -> None:
    """Raise WebhookRejected unless an entry of `signature` fits: `v1` an HMAC key, `v1a` a public key.

    Every entry is compared with every key, so that the time taken does not depend on which one fitted.
    """
    entries = _split(signature, " ")
    # More than one comma in an entry is two headers in one: neither is believed.
    if any(entry.count(",") > 1 for entry in entries):
        raise rejected("signature")
    digests: dict[str, list[bytes]] = {"v1": [], "v1a": []}
    for version, _, encoded in (entry.partition(",") for entry in entries):
        digest = _decode_base64(encoded) if version in digests else None
        if digest is not None:
            digests[version].append(digest)
    signed = f"{webhook_id}.{timestamp}.".encode("ascii") + body
    matches = _fits_hmac(keys, digests["v1"], signed)
    for key in keys:
        if not isinstance(key, bytes):
            matches |= any(key.fits(digest, signed) for digest in digests["v1a"])
    if not matches:
        raise rejected("signature")


def verify_stripe(keys: Sequence[Key], signature: str, body: bytes, now_seconds: float) -> None:
    """Raise WebhookRejected unless a `v1` of a Stripe-Signature header (`t=,v1=`) fits one of `keys`."""
    pairs = [entry.strip(" ").partition("=") for entry in _split(signature, ",")]
    times = [value for name, _, value in pairs if name == "t"]
    # Two times are two headers in one: neither is believed.
    if len(times) != 1:
        raise rejected("timestamp")
    check_timestamp(times[0], now_seconds)
    digests = [bytes.fromhex(value) for name, _, value in pairs if name == "v1" and _HEX_DIGEST.fullmatch(value)]
    if not _fits_hmac(keys, digests, times[0].encode("ascii") + b"." + body):
        raise rejected("signature")


def verify_hex(keys: Sequence[Key], signature: str, body: bytes, hash_name: str) -> None:
    """Raise WebhookRejected unless `signature`, hex with or without `sha256=`, is the HMAC of the body."""
    encoded = signature[7:] if signature[:7].lower() == f"{hash_name}=" else signature
    digests = [bytes.fromhex(encoded)] if _HEX_DIGEST.fullmatch(encoded) else []
    if not _fits_hmac(keys, digests, body, hash_name):
        raise rejected("signature")


def _split(signature: str, separator: str) -> list[str]:
    if not signature.isascii() or len(signature) > SIGNATURE_HEADER_BYTES_MAX:
        raise rejected("signature")
    entries = signature.split(separator)
    if len(entries) > SIGNATURE_ENTRIES_MAX:
        raise rejected("signature")
    return entries


def _fits_hmac(keys: Sequence[Key], digests: Sequence[bytes], signed: bytes, hash_name: str = "sha256") -> bool:
    matches = False
    for key in keys:
        if isinstance(key, bytes):
            # Computed also for a malformed header, so that it takes as long as a wrong signature.
            expected = hmac.digest(key, signed, hash_name)
            for digest in digests:
                matches |= hmac.compare_digest(expected, digest)
    return matches


def _read_id(parsed: Any, field: str | None, body: bytes) -> str:
    """Return the id in the body, else the body's sha256: without an id the same bytes are the same delivery."""
    value = parsed.get(field) if field is not None and isinstance(parsed, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and WEBHOOK_ID.fullmatch(value):
        return value
    return "sha256:" + hashlib.sha256(body).hexdigest()
