"""Find the sender of a notification that nobody signed, by the secret token of the URL that it came to."""

from __future__ import annotations

import ipaddress
import time
import uuid
from dataclasses import dataclass, field

from app.core.errors import ProviderUnusable
from app.providers import poke_urls
from app.runtime.runtime import Runtime
from app.services.access.senders import CACHE_SECONDS, CACHED_MAX, Network, is_listed
from models import Row
from models.database import single


@dataclass(frozen=True, slots=True)
class Poked:
    """A provider as its pokes are checked; `read_at` is on the monotonic clock."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    adapter: str
    networks: tuple[Network, ...]
    token_hashes: tuple[bytes, ...] = field(repr=False)
    read_at: float

    def may_send_from(self, address: str) -> bool:
        """Return whether `address` is on the provider's list, or there is no list."""
        return is_listed(address, self.networks)


# Known providers only. An entry counts for CACHE_SECONDS from the start of its query.
_cache: dict[uuid.UUID, Poked] = {}


def find_poked(runtime: Runtime, provider_id: str, token: str) -> Poked | None:
    """Return the provider if the token is one of its URL's, None where there is no such provider or token.

    Which of the two is wrong shows in nothing, the time included: either costs one query and one comparison. Raise
    ProviderUnusable where the provider's configuration cannot be read.
    """
    try:
        wanted = uuid.UUID(provider_id)
    except ValueError:
        return None
    now = time.monotonic()
    known = _cache.get(wanted)
    if known is not None and now - CACHE_SECONDS < known.read_at and poke_urls.fits(token, known.token_hashes):
        return known
    # A token may have been added since the provider was cached.
    rows = runtime.database.run_single("door", _FIND, {"id": wanted})
    hashes = tuple(bytes(one) for one in rows[0].token_hashes) if rows else ()
    if not poke_urls.fits(token, hashes):
        return None
    if len(_cache) >= CACHED_MAX:
        # All of them are a second old soon.
        _cache.clear()
    found = _cache[wanted] = _make(rows[0], wanted, hashes, now)
    return found


def forget_poked(provider_id: uuid.UUID) -> None:
    """Remove the provider from this process's cache; in others it expires within a second."""
    _cache.pop(provider_id, None)


_FIND = single("select tenant_id, adapter, ip_allowlist, token_hashes from door_find_poked(:id)")


def _make(row: Row, provider_id: uuid.UUID, hashes: tuple[bytes, ...], now: float) -> Poked:
    try:
        networks = tuple(ipaddress.ip_network(network) for network in row.ip_allowlist)
    except ValueError:
        raise ProviderUnusable("its list of addresses cannot be read", provider_id=provider_id) from None
    return Poked(provider_id, row.tenant_id, row.adapter, networks, hashes, now)
