"""The URLs at which providers reach Sluice, as payments name them to providers; one of them has a secret token."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from app.core.errors import ProviderUnusable
from app.providers.poke_urls import fill_in, write_path, write_placeholder
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError


def list_callback_urls(runtime: Runtime, provider_id: uuid.UUID, tokens: Mapping[str, str] | None) -> dict[str, str]:
    """Return the URLs by what comes to them; `poke` where the provider has `tokens`, encrypted ones by their ids.

    That one has a placeholder, since it becomes a part of stored bytes: `fill_in_token` puts the token in its place.
    """
    base = runtime.settings.public_url + "/webhooks"
    urls = {
        "success": f"{base}/payment-success",
        "failed": f"{base}/payment-failed",
        "callback": f"{base}/payment-callback",
        "provider": f"{base}/{provider_id}",
    }
    if tokens:
        # Ids rise with time: the newest token is the one without an end.
        urls["poke"] = f"{base}/{write_path(provider_id, write_placeholder(uuid.UUID(max(tokens))))}"
    return urls


def fill_in_token(runtime: Runtime, request: bytes, tokens: Mapping[str, str] | None) -> bytes:
    """Return a stored request as it is sent. Raise ProviderUnusable where a token in it cannot be decrypted.

    The same on every try: the placeholder names its token, whichever have come since.
    """

    def read(token_id: uuid.UUID) -> str | None:
        encrypted = tokens.get(str(token_id)) if tokens else None
        return None if encrypted is None else _decrypt(runtime, encrypted.encode("ascii"))

    return fill_in(request, read) if tokens else request


def write_poke_url(runtime: Runtime, provider_id: uuid.UUID, token: str) -> str:
    """Return the URL of a provider's pokes with its token."""
    return f"{runtime.settings.public_url}/webhooks/{write_path(provider_id, token)}"


def _decrypt(runtime: Runtime, encrypted: bytes) -> str:
    try:
        return runtime.vault.decrypt(encrypted)
    except VaultError:
        raise ProviderUnusable("no key of SLUICE_ENCRYPTION_KEYS decrypts the token of its URL for pokes") from None
    except ValueError:
        raise ProviderUnusable("the token of its URL for pokes, or SLUICE_ENCRYPTION_KEYS, cannot be read") from None
