"""Encryption of provider secrets at rest, with keys from the environment, the newest first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class VaultError(RuntimeError):
    """A secret cannot be read with the configured encryption keys (SLUICE_ENCRYPTION_KEYS)."""


class Vault:
    """Encrypts with the first key, decrypts with any; `rotate` re-encrypts with the first."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise VaultError("SLUICE_ENCRYPTION_KEYS is not set: provider secrets cannot be read or stored")
        self._fernet = MultiFernet([Fernet(key.encode("ascii")) for key in keys])

    def __repr__(self) -> str:
        return "Vault(...)"

    def encrypt(self, secret: str) -> bytes:
        """Return `secret` encrypted and authenticated."""
        return self.encrypt_bytes(secret.encode("utf-8"))

    def encrypt_bytes(self, content: bytes) -> bytes:
        """Return `content` encrypted and authenticated."""
        return self._fernet.encrypt(content)

    def decrypt(self, encrypted: bytes) -> str:
        """Return the secret. Raise VaultError where no key fits."""
        return self.decrypt_bytes(encrypted).decode("utf-8")

    def decrypt_bytes(self, encrypted: bytes) -> bytes:
        """Return the content. Raise VaultError where no key fits."""
        try:
            return self._fernet.decrypt(bytes(encrypted))
        except InvalidToken:
            raise VaultError() from None

    def rotate(self, encrypted: bytes) -> bytes:
        """Return the same secret encrypted with the first key. Raise VaultError where no key fits."""
        try:
            return self._fernet.rotate(bytes(encrypted))
        except InvalidToken:
            raise VaultError() from None


def fingerprint(key: str) -> str:
    """Return an identifier of an encryption key that does not reveal its 256 random bits."""
    return hashlib.sha256(b"sluice encryption key: " + key.encode("utf-8")).hexdigest()[:16]


def new_encryption_key() -> str:
    """Return a new key for SLUICE_ENCRYPTION_KEYS."""
    return Fernet.generate_key().decode("ascii")
