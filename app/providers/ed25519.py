"""Public keys of senders that sign with ed25519 (Standard Webhooks, `v1a`)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.core.signatures import PUBLIC_KEY_PREFIX, STANDARD, Key, decode_hmac_key, decode_public_key


class SenderKey:
    """An ed25519 public key with the interface of `app.core.signatures.PublicKey`."""

    def __init__(self, key: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(key)

    def fits(self, signature: bytes, signed: bytes) -> bool:
        """Return whether `signature` over `signed` was made with the private half."""
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


def read_key(scheme: str, secret: str) -> Key:
    """Return the key of a provider's stored secret. Raise ValueError for one that does not fit `scheme`."""
    if scheme == STANDARD and secret.startswith(PUBLIC_KEY_PREFIX):
        return SenderKey(decode_public_key(secret))
    return decode_hmac_key(scheme, secret)
