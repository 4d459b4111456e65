"""URLs for notifications that nobody signs: the secret token in them, and its place in bytes that are stored.

The bytes of a request are the same on every try and are stored, and a provider learns its URL with each payment. So
the stored bytes have a placeholder that names the token, and the token stands in what is sent.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Callable, Sequence

# 256 bits; 128 are required. The prefix is what logs and messages mask tokens by (app.core.redaction).
TOKEN_BYTES = 32
PREFIX = "whut_"
TOKEN_LENGTH_MAX = 128

_PLACEHOLDER = re.compile(rb"poke-token-([0-9a-f]{32})")


def new_token() -> str:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """Return the hash by which a token is known. It needs no salt: nobody can guess 256 bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def fits(token: str, hashes: Sequence[bytes]) -> bool:
    """Return whether one of `hashes` is the token's, in a time that does not depend on which of them, or on any."""
    given = hash_token(token[: TOKEN_LENGTH_MAX + 1])
    found = False
    for known in hashes or (bytes(32),):
        found |= hmac.compare_digest(given, known)
    return found


def write_path(provider_id: uuid.UUID, token: str) -> str:
    """Return the path of the URL below that of the webhooks; `token` may be a placeholder."""
    return f"{provider_id}/{token}"


def write_placeholder(token_id: uuid.UUID) -> str:
    """Return what stands for a token in stored bytes: characters that neither JSON nor a form escapes."""
    return f"poke-token-{token_id.hex}"


def fill_in(stored: bytes, find_token: Callable[[uuid.UUID], str | None]) -> bytes:
    """Return `stored` with each placeholder replaced by the token of its id; one of no known token stays."""

    def replace(match: re.Match[bytes]) -> bytes:
        token = find_token(uuid.UUID(match[1].decode("ascii")))
        return match[0] if token is None else token.encode("ascii")

    return _PLACEHOLDER.sub(replace, stored)
