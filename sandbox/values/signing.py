"""Signs webhooks as Standard Webhooks (https://www.standardwebhooks.com) describes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from sandbox.values.refusal import Refusal

_PREFIX = "whsec_"
# The specification asks for 24 to 64 bytes of secret.
_SHORTEST_SECRET_BYTES = 24
_LONGEST_SECRET_BYTES = 64


def secret_bytes(secret: object) -> bytes:
    """Read a `whsec_` secret. Raise Refusal 422 unless it is padded base64 of 24 to 64 bytes."""
    if isinstance(secret, str) and secret.startswith(_PREFIX):
        try:
            decoded = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        if _SHORTEST_SECRET_BYTES <= len(decoded) <= _LONGEST_SECRET_BYTES:
            return decoded
    raise Refusal(422, "invalid_field", "webhook_secret must be whsec_ and padded base64 of 24 to 64 bytes")


def sign(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header for one attempt."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
